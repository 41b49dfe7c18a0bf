import { type Audited, auditFleet } from "../audit.js";
import type { BenchCase, MemoryBench, Skipped } from "../case.js";

const HURRIED: Skipped = { skipped: "a quick run audits no large fleet: pnpm bench audit" };
const LARGE = 10_000;

/** A thousand captures judged by `peerbar audit`, against reading, hashing and parsing the same files. */
const thousand: BenchCase = {
  id: "audit/fleet-1000",
  setup: ({ hurried }) => auditFleet(1_000, hurried ? 1 : 3),
};

let large: Promise<Audited | Skipped> | undefined;

/** Audited once, for its time and for its memory. */
function largeFleet(): Promise<Audited | Skipped> {
  large ??= auditFleet(LARGE, 1);
  return large;
}

/** Ten thousand: what is kept of each must not make the next one dearer. */
const tenThousand: BenchCase = {
  id: "audit/fleet-10000",
  setup: ({ hurried }) => (hurried ? HURRIED : largeFleet()),
};

export const audit: readonly BenchCase[] = [thousand, tenThousand];

/** The resident set of the whole process, its threads included, at its largest. */
export const auditMemory: readonly MemoryBench[] = [
  {
    id: "audit/peak-10000",
    async measure({ hurried }) {
      if (hurried) return HURRIED;
      const audited = await largeFleet();
      return "skipped" in audited ? audited : { bytes: audited.peakBytes, count: 1 };
    },
  },
];
