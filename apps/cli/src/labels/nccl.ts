import { type CpuKind, hexNumber, type PciFunctionInfo, type PciTopology } from "@peerbar/p2pdma";
import { plural } from "../wrap.js";
import type { NodeFacts } from "./node.js";

/** What NCCL calls the CPUs that are known by kind; family and model it reads itself. */
const cpus: Partial<Record<CpuKind, readonly [arch: string, vendor: string | undefined]>> = {
  intel: ["x86_64", "GenuineIntel"],
  "amd-zen": ["x86_64", "AuthenticAMD"],
  "amd-old": ["x86_64", "AuthenticAMD"],
  hygon: ["x86_64", undefined],
  arm: ["arm64", undefined],
  power: ["ppc64", undefined],
};

interface Node {
  readonly fn: PciFunctionInfo;
  readonly children: Node[];
}

/**
 * A topology for `NCCL_TOPO_FILE`: GPUs and NICs below their switches, below the CPU of their NUMA node, as NCCL itself draws /sys: a switch
 * is one `pci` element named by its upstream port, and ports are left out. What a capture does not know (affinity, CPU family, the
 * GPUs' compute capability) is left out, and NCCL fills it in when it loads the file on that machine.
 */
export function ncclXml({ subject, topology, devices }: NodeFacts): string {
  const sockets = new Map<number, Node[]>();
  const switches = new Map<PciFunctionInfo, Node>();
  for (const { fn, kind } of devices) {
    if (kind === "nvme") continue;
    let node: Node = { fn, children: [] };
    let above = aboveOf(topology, fn);
    let known = false;
    while (above !== undefined && !known) {
      const there = switches.get(above);
      known = there !== undefined;
      const parent = there ?? { fn: above, children: [] };
      parent.children.push(node);
      switches.set(above, parent);
      node = parent;
      above = aboveOf(topology, above);
    }
    if (known) continue;
    const numa = numaOf(fn) ?? 0;
    const socket = sockets.get(numa);
    if (socket === undefined) sockets.set(numa, [node]);
    else socket.push(node);
  }
  const [arch, vendor] = cpus[subject.cpu] ?? [undefined, undefined];
  const body = [...sockets]
    .sort(([a], [b]) => a - b)
    .map(([numa, nodes]) => {
      const attributes = { numaid: String(numa), arch, vendor };
      return element(
        "cpu",
        attributes,
        nodes.map((node) => pciElement(topology, node, 2)),
        1,
      );
    });
  return element("system", { version: "1" }, body, 0);
}

/** What the file claims beyond what is known: NCCL has no way to leave the node of a CPU out. */
export function ncclNotes({ devices }: NodeFacts): readonly string[] {
  const untold = devices.filter(({ fn, kind }) => kind !== "nvme" && numaOf(fn) === undefined);
  const roots = new Set(untold.map(({ root }) => root));
  if (roots.size < 2) return [];
  return [
    `the NUMA nodes of ${plural(untold.length, "device")} below ${plural(roots.size, "host bridge")}: all are put below numaid 0, as if they were near each other; set it by hand`,
  ];
}

function numaOf({ numaNode }: PciFunctionInfo): number | undefined {
  return numaNode !== undefined && numaNode >= 0 ? numaNode : undefined;
}

/** Two levels up, as NCCL walks: past the port that the function is plugged into, to the upstream port of the switch. */
function aboveOf(topology: PciTopology, fn: PciFunctionInfo): PciFunctionInfo | undefined {
  const port = topology.functions[fn.parent];
  return port === undefined ? undefined : topology.functions[port.parent];
}

function pciElement(topology: PciTopology, { fn, children }: Node, depth: number): string {
  const port = topology.functions[fn.parent]?.link;
  const slower = (a: number | undefined, b: number | undefined): number | undefined =>
    a === undefined || b === undefined ? (a ?? b) : Math.min(a, b);
  const speed = slower(fn.link?.maxSpeed, port?.maxSpeed);
  const width = slower(fn.link?.maxWidth, port?.maxWidth);
  return element(
    "pci",
    {
      busid: fn.address,
      class: hexNumber(fn.classCode, 6),
      vendor: hexNumber(fn.vendorId, 4),
      device: hexNumber(fn.deviceId, 4),
      // As /sys spells it.
      link_speed: speed === undefined ? undefined : `${speed.toFixed(1)} GT/s PCIe`,
      link_width: width?.toString(),
    },
    children.map((child) => pciElement(topology, child, depth + 1)),
    depth,
  );
}

function element(
  name: string,
  attributes: Readonly<Record<string, string | undefined>>,
  children: readonly string[],
  depth: number,
): string {
  const pad = "  ".repeat(depth);
  const text = Object.entries(attributes)
    .map(([key, value]) => (value === undefined ? "" : ` ${key}="${value}"`))
    .join("");
  if (children.length === 0) return `${pad}<${name}${text}/>\n`;
  return `${pad}<${name}${text}>\n${children.join("")}${pad}</${name}>\n`;
}
