import { type MapType, type P2pdmaDecision, trustRisk } from "../decision.js";
import type { HostBridgeVerdict } from "../host-bridge-list.js";
import type { P2pdma } from "../p2pdma.js";
import type { FunctionRef, PciTopology } from "../pci-topology.js";
import { ACS_REDIRECT, type AcsInfo } from "../topology.js";
import { differingGroups, type GroupChanges, groupsOf } from "./group-changes.js";
import { whyFixed, whyNoSlot } from "./move.js";

/** Something that would improve, or settle, the answer for a pair. */
export interface Fix {
  /**
   * `look`: something has to be shown first; `acs`: redirect bits to clear; `move`: another slot; `trust`: a kernel change that lets the
   * host bridge pass.
   */
  readonly kind: "look" | "acs" | "move" | "trust";
  /** What to do, in one sentence without full stop. */
  readonly what: string;
  /** Lines to paste, each with where it goes. */
  readonly lines: readonly { readonly where: string; readonly text: string }[];
  /** Ports that change. */
  readonly ports: readonly string[];
  /** Map type afterwards; `unknown` where that is not certain, undefined for `look`. */
  readonly gives: MapType | "unknown" | undefined;
  /** What it takes away in isolation. */
  readonly cost: string | undefined;
  /** IOMMU groups that the change merges. */
  readonly groups: GroupChanges | undefined;
  /** A danger beyond the cost: traffic may be lost or corrupted without an error. */
  readonly risk: string | undefined;
}

/** The register without RR, CR and EC; the other bits stay. */
export function withoutRedirect(acs: AcsInfo): AcsInfo {
  return acs.state === "present" ? { ...acs, control: acs.control & ~ACS_REDIRECT } : acs;
}

/**
 * Changes that help a pair, the smallest and safest first; empty where the answer is already `bus-addr`.
 *
 * For `thru-host-bridge` they save the way over the root complex, for `not-supported` they make the pair work, for `unknown` they
 * settle it. A map type that a driver asked for before stays cached until its provider is bound anew (p2pdma R21).
 */
export function fixes(p2pdma: P2pdma, provider: FunctionRef, client: FunctionRef): Fix[] {
  const decision = p2pdma.decide(provider, client);
  if (decision.mapType === "bus-addr") return [];
  return [
    ...lookFixes(decision),
    ...acsFixes(p2pdma, decision),
    ...moveFixes(p2pdma, decision),
    ...trustFixes(p2pdma, decision),
  ];
}

function look(what: string, where: string, text: string): Fix {
  return {
    kind: "look",
    what,
    lines: [{ where, text }],
    ports: [],
    gives: undefined,
    cost: undefined,
    groups: undefined,
    risk: undefined,
  };
}

function lookFixes(decision: P2pdmaDecision): Fix[] {
  if (decision.mapType !== "unknown") return [];
  const found: Fix[] = [];
  const more =
    decision.acsUnknown !== undefined ||
    decision.hostBridgeUnknown === true ||
    decision.bridgeHidden === true ||
    decision.possible?.includes("bus-addr") === true;
  if (more) {
    found.push(
      look("list the whole machine again, as root", "shell", "sudo lspci -vvv -nn >machine.txt"),
    );
  }
  if (decision.cpuUnknown === true) {
    const text = "grep -m3 -E 'vendor_id|cpu family' /proc/cpuinfo";
    found.push(look("say which CPU the machine has", "shell", text));
  }
  return found;
}

function acsFixes(p2pdma: P2pdma, decision: P2pdmaDecision): Fix[] {
  const ports = decision.acsRedirect;
  if (ports.length === 0) return [];
  const { topology } = p2pdma;
  const after = p2pdma.copy();
  for (const port of ports) after.setAcs(port, withoutRedirect(p2pdma.acsOf(port)));
  const gives = after.decide(decision.provider, decision.client).mapType;
  const paths = ports.map((port) => pathOf(topology, port) ?? port);
  const groups = differingGroups(
    groupsOf(topology, (index) => p2pdma.acsOf(index)),
    groupsOf(topology, (index) => after.acsOf(index)),
  );
  return [
    {
      kind: "acs",
      what: `clear the redirect bits (RR, CR, EC) at ${ports.join(", ")}`,
      lines: [
        {
          where: "kernel command line",
          text: `pci=disable_acs_redir=${ports.join(";")}`,
        },
        ...(paths.join() === ports.join()
          ? []
          : [
              {
                where: "or by path, which outlives new bus numbers",
                text: `pci=disable_acs_redir=${paths.join(";")}`,
              },
            ]),
        {
          where: "or bit by bit: 0 clears, x leaves, from DT down to SV",
          text: `pci=config_acs=${ports.map((port) => `x0x00xx@${port}`).join(";")}`,
        },
        ...ports.map((port) => ({
          where: "or until the next boot, before the provider's driver is bound (p2pdma R21)",
          text: `setpci -s ${port} ECAP_ACS+6.w=0000:002c`,
        })),
      ],
      ports,
      gives,
      cost: isolationCost(topology, ports, groups),
      groups,
      risk: undefined,
    },
  ];
}

/**
 * `0000:00:01.0/00.0/08.0`: the device by its way from the root bus, as kernel parameters take it. Undefined where a bridge on the way is not
 * in the input: the kernel compares every step, and a path that lacks one fits nothing.
 * @see Linux 7.2 drivers/pci/pci.c, pci_dev_str_match_path()
 */
function pathOf(topology: PciTopology, address: string): string | undefined {
  const steps: string[] = [];
  let index = topology.indexOf(address);
  for (let at = topology.functions[index]; at !== undefined; at = topology.functions[index]) {
    if (at.hiddenUpstream === true) return undefined;
    index = at.parent;
    steps.unshift(index < 0 ? at.address : at.address.slice(-4));
  }
  return steps.join("/");
}

function isolationCost(
  topology: PciTopology,
  ports: readonly string[],
  groups: GroupChanges,
): string {
  const below = ports.length === 1 ? "what is below it" : "what is below them";
  const start = `${below} can then be reached from peers past the IOMMU`;
  const together = groups.after
    .map((members) => members.filter((address) => topology.get(address)?.headerType === 0))
    .filter((members) => members.length > 1);
  if (together.length === 0) {
    const merged =
      groups.after.length === 0
        ? "no IOMMU group changes"
        : "no two devices come into one IOMMU group";
    return `${start}; ${merged}`;
  }
  const list = together.map((members) => members.join(" ")).join("; ");
  return `${start}; devices come into one IOMMU group and can only be given away together: ${list}`;
}

/** A free port where requests would stay below a switch: best the provider's own switch, else the client's. */
function moveFixes(p2pdma: P2pdma, decision: P2pdmaDecision): Fix[] {
  if (decision.mapType !== "not-supported" || decision.commonAncestor !== undefined) return [];
  const { topology } = p2pdma;
  const sides = [
    { moved: decision.client, stays: decision.upPath, near: decision.provider },
    { moved: decision.provider, stays: decision.downPath, near: decision.client },
  ];
  for (const { moved, stays, near } of sides) {
    const upstream = stays.find(
      (step) => topology.get(step.address)?.portType === "switch-upstream",
    );
    if (upstream === undefined) continue;
    const fn = topology.at(moved);
    const device = topology.functions[fn.physfn] ?? fn;
    if (whyFixed(device) !== undefined) continue;
    const ports = topology
      .children(topology.indexOf(upstream.address))
      .map((at) => topology.at(at));
    const free = ports.find(
      (port) =>
        whyNoSlot(port) === undefined && topology.children(topology.resolve(port)).length === 0,
    );
    return [
      {
        kind: "move",
        what: `plug ${device.address} in below the switch ${upstream.address}, where ${near} is`,
        lines:
          free === undefined
            ? []
            : [
                {
                  where: "to see what that changes",
                  text: `peerbar what-if --move ${device.address}=${free.address}`,
                },
              ],
        ports: free === undefined ? [] : [free.address],
        gives: "unknown",
        cost:
          free === undefined
            ? "no port of that switch is free: another device has to go"
            : undefined,
        groups: undefined,
        risk: undefined,
      },
    ];
  }
  return [];
}

/** Last resort: the kernel has no parameter for it, only its source. */
function trustFixes(p2pdma: P2pdma, decision: P2pdmaDecision): Fix[] {
  if (decision.mapType !== "not-supported") return [];
  const [a, b] = decision.hostBridges;
  const refusing = [...new Set([a, b])].filter((host) => host.listed !== true || host.sameOnly);
  // The list is asked for a key device: where there is none, no entry can fit.
  if (refusing.length === 0 || refusing.some((host) => host.key === undefined)) return [];
  const after = p2pdma.copy({ trust: refusing.map((host) => host.root) });
  return [
    {
      kind: "trust",
      what: `patch the kernel to trust ${refusing.map((host) => `host bridge ${host.root}${host.keyId === undefined ? "" : ` (${host.keyId})`}`).join(" and ")}: no parameter does it`,
      lines: listLines(refusing),
      ports: [],
      gives: after.decide(decision.provider, decision.client).mapType,
      cost: undefined,
      groups: undefined,
      risk: trustRisk(refusing),
    },
  ];
}

/** One line for each ID. The first entry that fits decides (p2pdma R16): one that is there has to change, a second would never be read. */
function listLines(hosts: readonly HostBridgeVerdict[]): Fix["lines"] {
  const byId = new Map(hosts.map((host) => [host.keyId, host]));
  return [...byId].flatMap(([id, { listed }]) => {
    const [vendor, device] = id?.split(":") ?? [];
    if (vendor === undefined || device === undefined) return [];
    const list = "drivers/pci/p2pdma.c, pci_p2pdma_whitelist";
    const where =
      listed === true ? `${list}: in place of its entry with REQ_SAME_HOST_BRIDGE` : list;
    return [{ where, text: `{0x${vendor}, 0x${device}, 0},` }];
  });
}
