import {
  formatBus,
  type PairMatrix,
  type PciFunctionInfo,
  type PciTopology,
} from "@peerbar/p2pdma";
import { describeFunction } from "@peerbar/words";
import type { Io } from "./io.js";

const edgeStyle = {
  "bus-addr": 'color="#2a7f3f"',
  "thru-host-bridge": 'color="#1f6f9f" style=dashed',
  unknown: 'color="#b07d00" style=dotted',
} as const;

function quote(text: string): string {
  return `"${text.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;
}

/** `matrix --dot`: endpoints by host bridge, an edge for each two that can (or may) reach each other; no edge: not supported. */
export function writeDot(
  io: Io,
  topology: PciTopology,
  endpoints: readonly PciFunctionInfo[],
  pairs: PairMatrix,
): void {
  io.out(
    'graph peerbar {\n  // solid: bus address, switch-local; dashed: through the host bridge; dotted: the input cannot tell; no edge: not supported\n  graph [overlap=false splines=true]\n  node [shape=box fontname="sans-serif"]\n',
  );
  for (const [index, host] of topology.hostBridges.entries()) {
    const members = endpoints.filter((fn) => fn.hostBridge === index);
    if (members.length === 0) continue;
    const root = formatBus(host.domain, host.bus);
    io.out(`  subgraph "cluster_${root}" {\n    label=${quote(`host bridge ${root}`)}\n`);
    for (const fn of members) {
      const label = [...fn.deviceNames.slice(0, 2), describeFunction(fn)].join("\\n");
      io.out(`    ${quote(fn.address)} [label=${quote(label).replaceAll("\\\\n", "\\n")}]\n`);
    }
    io.out("  }\n");
  }
  for (let a = 0; a < pairs.size; a += 1) {
    for (let b = a + 1; b < pairs.size; b += 1) writeEdges(io, endpoints, pairs, a, b);
  }
  io.out("}\n");
}

/** One edge where both directions have the same answer, else one with an arrow for each. */
function writeEdges(
  io: Io,
  endpoints: readonly PciFunctionInfo[],
  pairs: PairMatrix,
  a: number,
  b: number,
): void {
  const there = pairs.mapTypeAt(a, b);
  const back = pairs.mapTypeAt(b, a);
  const ends = `${quote(endpoints[a]?.address ?? "")} -- ${quote(endpoints[b]?.address ?? "")}`;
  const distance = `label=${String(pairs.distanceAt(a, b))}`;
  if (there === back) {
    if (there !== "not-supported") io.out(`  ${ends} [${edgeStyle[there]} ${distance}]\n`);
    return;
  }
  // The client points at the provider it reaches.
  if (there !== "not-supported") io.out(`  ${ends} [dir=back ${edgeStyle[there]} ${distance}]\n`);
  if (back !== "not-supported") io.out(`  ${ends} [dir=forward ${edgeStyle[back]} ${distance}]\n`);
}
