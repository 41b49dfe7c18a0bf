import type { PciTopology } from "@peerbar/p2pdma";
import type { Case, Entry, Outcome } from "./case.js";

/** Where two worlds part in a case: the first step that differs. */
export interface Difference {
  readonly case: Case;
  readonly step: number;
  readonly kernel: unknown;
  readonly model: unknown;
}

/**
 * The first step of a case whose outcomes differ, or undefined. Addresses inside a BAR must be equal; an IOVA is compared by its structure:
 * lengths, distances between entries, alignment, and on which side of 4 GiB it lies.
 */
export function firstDifference(
  subject: Case,
  kernel: readonly Outcome[],
  model: readonly Outcome[],
  topology: PciTopology,
): Difference | undefined {
  for (const step of subject.steps.keys()) {
    const left = plain(kernel[step], topology);
    const right = plain(model[step], topology);
    if (JSON.stringify(left) !== JSON.stringify(right))
      return { case: subject, step, kernel: left, model: right };
  }
  return undefined;
}

function plain(outcome: Outcome | undefined, topology: PciTopology): unknown {
  if (outcome === undefined) return "no outcome";
  const { errno, entries, value, states } = outcome;
  return {
    errno,
    value,
    entries: entries === undefined ? undefined : structure(entries, topology),
    states,
  };
}

/** Entries as text: `0000:01:00.0 BAR2 +0x1000 0x3000`, or `iova +0 0x3000 (aligned, below 4 GiB)`. */
export function structure(entries: readonly Entry[], topology: PciTopology): string[] {
  const [first] = entries;
  const base = first === undefined ? 0n : BigInt(`0x${first[0]}`);
  const total = entries.reduce((sum, [, length]) => sum + length, 0);
  return entries.map(([address, length], index) => {
    const at = BigInt(`0x${address}`);
    const size = `0x${length.toString(16)}`;
    const bar = findBar(at, topology);
    if (bar !== undefined) return `${bar} ${size}`;
    const kind = index === 0 ? ` (${describe(base, total)})` : "";
    return `iova +0x${(at - base).toString(16)} ${size}${kind}`;
  });
}

function findBar(at: bigint, topology: PciTopology): string | undefined {
  for (const info of topology.functions) {
    for (const [index, bar] of info.bars.entries()) {
      if (bar === undefined || bar.kind !== "memory") continue;
      if (at >= bar.start && at < bar.start + (bar.length ?? 0n)) {
        return `${info.address} BAR${String(index)} +0x${(at - bar.start).toString(16)}`;
      }
    }
  }
  return undefined;
}

function describe(base: bigint, total: number): string {
  const natural = 1n << BigInt(Math.max(12, Math.ceil(Math.log2(Math.max(total, 1)))));
  const aligned = base % natural === 0n ? "aligned" : "not aligned";
  return `${aligned}, ${base < 1n << 32n ? "below" : "above"} 4 GiB`;
}
