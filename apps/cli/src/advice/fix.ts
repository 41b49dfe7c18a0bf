import {
  ACS_REDIRECT,
  type AcsInfo,
  computeIommuGroups,
  matrix,
  P2pdma,
  type P2pdmaDecision,
  type PciTopology,
} from "@peerbar/p2pdma";

/** One thing that would improve the answer for a pair. */
export interface Fix {
  readonly kind: "acs" | "move" | "cpu" | "look";
  readonly what: string;
  /** Lines to paste, each with where it goes. */
  readonly lines: readonly { readonly where: string; readonly text: string }[];
  /** Map type afterwards, where that is certain. */
  readonly gives: string | undefined;
  /** What it takes away. */
  readonly cost: string | undefined;
}

/** Changes that help a pair, the smallest first; empty where nothing is left to improve. */
export function fixesFor(p2pdma: P2pdma, decision: P2pdmaDecision): Fix[] {
  if (decision.mapType === "bus-addr") return [];
  const fixes: Fix[] = [];
  if (decision.mapType === "unknown") fixes.push(...lookFixes(decision));
  if (decision.acsRedirect.length > 0) fixes.push(acsFix(p2pdma, decision));
  if (decision.mapType === "not-supported" && decision.commonAncestor === undefined) {
    const move = moveFix(p2pdma.topology, decision);
    if (move !== undefined) fixes.push(move);
  }
  return fixes;
}

function lookFixes(decision: P2pdmaDecision): Fix[] {
  const fixes: Fix[] = [];
  const look = (what: string, where: string, text: string): void => {
    fixes.push({ kind: "look", what, lines: [{ where, text }], gives: undefined, cost: undefined });
  };
  if (
    decision.acsUnknown !== undefined ||
    decision.hostBridgeUnknown === true ||
    decision.bridgeHidden === true
  ) {
    look(
      "capture the machine again, all of it and as root",
      "shell",
      "sudo lspci -vvv -nn >server.txt",
    );
  }
  if (decision.cpuUnknown === true) {
    look(
      "say which CPU it has",
      "option",
      "--cpu amd-zen (AMD family 17h and later), or --cpu intel",
    );
  }
  return fixes;
}

/** What remains of a control register when nothing redirects. */
export function withoutRedirect(acs: AcsInfo): AcsInfo {
  return acs.state === "present" ? { ...acs, control: acs.control & ~ACS_REDIRECT } : acs;
}

function acsFix(p2pdma: P2pdma, decision: P2pdmaDecision): Fix {
  const { topology } = p2pdma;
  const ports = decision.acsRedirect;
  const after = new P2pdma(topology, { cpu: p2pdma.cpu });
  for (const port of ports) after.setAcs(port, withoutRedirect(p2pdma.acsOf(port)));
  const gives = after.decide(decision.provider, decision.client).mapType;
  const list = ports.join(", ");
  return {
    kind: "acs",
    what: `clear the redirect bits at ${list}`,
    lines: [
      { where: "kernel command line", text: `pci=disable_acs_redir=${ports.join(";")}` },
      {
        where: "or, the other bits untouched",
        text: `pci=config_acs=${ports.map((port) => `x0x00xx@${port}`).join(";")}`,
      },
      ...ports.map((port) => ({
        where: "or until the next boot, before the exporter is bound: p2pdma R21",
        text: `setpci -s ${port} ECAP_ACS+6.w=0000:002c`,
      })),
    ],
    gives: gives === "unknown" ? undefined : gives,
    cost: isolationCost(topology, p2pdma, after, ports),
  };
}

/** IOMMU groups that become one: peers in one group can only be given away together. */
function isolationCost(
  topology: PciTopology,
  before: P2pdma,
  after: P2pdma,
  ports: readonly string[],
): string {
  const then = computeIommuGroups(topology, (index) => before.acsOf(index));
  const now = computeIommuGroups(topology, (index) => after.acsOf(index));
  const lost = then.groups.length - now.groups.length;
  const below = ports.length === 1 ? "the functions below it" : "the functions below them";
  if (lost <= 0) {
    return `${below} can then reach each other past the IOMMU; no IOMMU group changes`;
  }
  const merged = now.groups
    .filter((members) => new Set(members.map((index) => then.groupOf[index])).size > 1)
    .map((members) =>
      members.map((index) => topology.at(index)).filter((fn) => fn.headerType === 0),
    )
    .map((members) => members.map((fn) => fn.address).join(" "));
  return `${below} can then reach each other past the IOMMU: ${String(lost + merged.length)} IOMMU groups become ${String(merged.length)} (endpoints together: ${merged.join("; ")})`;
}

/** A free port below the provider's switch would make it switch-local: which ports there are. */
function moveFix(topology: PciTopology, decision: P2pdmaDecision): Fix | undefined {
  const client = topology.at(decision.client);
  // A virtual function goes where its physical function goes.
  const moved = topology.functions[client.physfn]?.address ?? client.address;
  const upstream = decision.upPath.find(
    ({ address }) => topology.get(address)?.portType === "switch-upstream",
  );
  const above = upstream ?? decision.upPath.at(-1);
  const port = above === undefined ? -1 : topology.indexOf(above.address);
  if (above === undefined || port < 0 || above.address === decision.provider) return undefined;
  const ports = upstream === undefined ? [port] : topology.children(port);
  const free = ports.filter((index) => topology.children(index).length === 0);
  const slot = free.map((index) => topology.at(index).address)[0];
  const taken =
    topology.functions[upstream === undefined ? port : (topology.children(port)[0] ?? port)]
      ?.address ?? above.address;
  return {
    kind: "move",
    what: `plug ${moved} in below ${above.address}, where ${decision.provider} is`,
    lines: [
      {
        where: "to see what that changes",
        text: `peerbar what-if --move ${moved}=${slot ?? taken}`,
      },
    ],
    gives: undefined,
    cost:
      slot === undefined ? "no port there is shown as free: something has to make room" : undefined,
  };
}

/** Peers of the client that the provider is reachable from, for the reader who can choose another. */
export function reachableClients(p2pdma: P2pdma, decision: P2pdmaDecision): string[] {
  const { topology } = p2pdma;
  const client = topology.at(decision.client);
  const same = topology
    .endpoints()
    .filter(
      (fn) => fn.physfn < 0 && (fn.classCode ?? -1) >>> 16 === (client.classCode ?? -2) >>> 16,
    );
  const pairs = matrix(p2pdma, [decision.provider, ...same]);
  return same
    .filter((_, i) => pairs.mapTypeAt(0, i + 1) === "bus-addr")
    .map((fn) => fn.address)
    .filter((address) => address !== decision.provider);
}
