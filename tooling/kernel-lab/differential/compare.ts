import type { PciTopology } from "@peerbar/p2pdma";
import type { Case, Entry, Outcome, Step } from "./case.js";

/** Where two worlds part in a case: the first step that differs. */
export interface Difference {
  readonly case: Case;
  readonly step: number;
  readonly kernel: unknown;
  readonly model: unknown;
}

/**
 * The first step of a case whose outcomes differ, or undefined. Entries at the provider's own addresses must be equal; an IOVA is compared
 * by its structure: lengths, distances between entries, alignment, and on which side of 4 GiB it lies.
 */
export function firstDifference(
  subject: Case,
  kernel: readonly Outcome[],
  model: readonly Outcome[],
  { topology, translated }: Setting,
): Difference | undefined {
  const bar = topology.functions.find(({ address }) => address === subject.provider)?.bars[
    subject.bar
  ];
  for (const index of subject.steps.keys()) {
    const made = makerOf(subject.steps, index);
    const foreign =
      translated && made !== undefined && !sameHost(topology, subject.provider, made.client);
    const linear = foreign ? () => undefined : linearOf(subject.steps, made, bar?.start ?? 0n);
    const left = plain(kernel[index], linear);
    const right = plain(model[index], linear);
    if (JSON.stringify(left) !== JSON.stringify(right)) {
      return { case: subject, step: index, kernel: left, model: right };
    }
  }
  return undefined;
}

type Maker = Extract<Step, { readonly client: string; readonly buffer: number }>;

/** The machine as far as the comparison needs it. */
interface Setting {
  readonly topology: PciTopology;
  /** Importers stand behind an IOMMU that translates. */
  readonly translated: boolean;
}

/** The physical address of each byte that a step maps, by its offset from the first one mapped. */
type Linear = (offset: number) => bigint | undefined;

const PAGE = 0x1000;

/**
 * Below another host bridge an IOVA can by chance be the BAR's own address: only the windows of the importer's bridge are reserved
 * (dma-iova R19). Nothing is lost there, as such a pair never goes by bus address.
 */
function sameHost(topology: PciTopology, provider: string, client: string): boolean {
  const hostOf = (address: string): number | undefined =>
    topology.functions.find((info) => info.address === address)?.hostBridge;
  return hostOf(provider) === hostOf(client);
}

function linearOf(steps: readonly Step[], made: Maker | undefined, barStart: bigint): Linear {
  const buffer = made === undefined ? undefined : steps[made.buffer];
  if (made === undefined || buffer?.do !== "export") return () => undefined;
  const first = made.do === "umem" ? made.offset - (made.offset % PAGE) : 0;
  return (offset) => {
    let at = first + offset;
    for (const [start, length] of buffer.ranges) {
      if (at < length) return barStart + BigInt(start + at);
      at -= length;
    }
    return undefined;
  };
}

/** The step that attached or registered what this one maps. */
function makerOf(steps: readonly Step[], index: number): Maker | undefined {
  const step = steps[index];
  if (step === undefined) return undefined;
  if ("buffer" in step) return step;
  const maker =
    "attachment" in step ? steps[step.attachment] : "umem" in step ? steps[step.umem] : undefined;
  return maker !== undefined && "buffer" in maker ? maker : undefined;
}

function plain(outcome: Outcome | undefined, linear: Linear): unknown {
  if (outcome === undefined) return "no outcome";
  const { errno, entries, value, states } = outcome;
  return { errno, value, entries: entries && structure(entries, linear), states };
}

/** Entries as text: `bar 0xfd001000 0x3000`, or `iova +0x0 0x3000 (aligned, below 4 GiB)`. */
function structure(entries: readonly Entry[], linear: Linear): string[] {
  const [first] = entries;
  const base = first === undefined ? 0n : BigInt(`0x${first[0]}`);
  const total = entries.reduce((sum, [, length]) => sum + length, 0);
  let offset = 0;
  return entries.map(([address, length], index) => {
    const at = BigInt(`0x${address}`);
    const isPhysical = linear(offset) === at;
    offset += length;
    const size = `0x${length.toString(16)}`;
    if (isPhysical) return `bar 0x${address} ${size}`;
    const kind = index === 0 ? ` (${describe(base, total)})` : "";
    return `iova +0x${(at - base).toString(16)} ${size}${kind}`;
  });
}

/** Whether the start is as aligned as a mapping of that size is (dma-iova R16), and its side of 4 GiB. */
function describe(base: bigint, total: number): string {
  const natural = 1n << BigInt(Math.max(12, Math.ceil(Math.log2(Math.max(total, 1)))));
  const aligned = base % natural === 0n ? "aligned" : "not aligned";
  return `${aligned}, ${base < 1n << 32n ? "below" : "above"} 4 GiB`;
}
