import { type Audited, auditFleet, auditProblem } from "../audit.js";
import type { BenchCase, Effort, GrowthSeries, MemoryBench, Skipped } from "../case.js";
import { median } from "../statistics.js";

const HURRIED: Skipped = { skipped: "a quick run audits no large fleet: pnpm bench audit" };
const LARGE = 10_000;

const audited = new Map<number, Promise<Audited | Skipped>>();

/** Each size is audited once, for its time, its growth and its memory: the large ones take long, and a small one is no better twice. */
function fleet(count: number, { hurried }: Effort): Promise<Audited | Skipped> {
  const known = audited.get(count);
  if (known !== undefined) return known;
  const fresh = auditFleet(count, hurried || count === LARGE ? 1 : 3);
  audited.set(count, fresh);
  return fresh;
}

/** A thousand captures judged by `peerbar audit`, against reading, hashing and parsing the same files. */
const thousand: BenchCase = {
  id: "audit/fleet-1000",
  setup: (effort) => fleet(1_000, effort),
};

/** Ten thousand: what is kept of each must not make the next one dearer. */
const tenThousand: BenchCase = {
  id: "audit/fleet-10000",
  setup: (effort) => (effort.hurried ? HURRIED : fleet(LARGE, effort)),
};

export const audit: readonly BenchCase[] = [thousand, tenThousand];

/** Processor time by the number of captures. Audits of the cases above are not run again. */
export const auditGrowth: readonly GrowthSeries[] = [
  {
    id: "audit/captures",
    unit: "captures",
    // The start of the process and of its threads is all of a smaller one. A million take an hour and 30 GB.
    sizes: [100, 1_000, LARGE],
    rounds: 1,
    setup(size, effort) {
      const problem = auditProblem();
      if (problem !== undefined) return problem;
      return {
        async sample() {
          const taken = await fleet(size, effort);
          return "skipped" in taken ? Number.NaN : median(taken.ns);
        },
      };
    },
  },
];

/** The resident set of the whole process, its threads included, at its largest. */
export const auditMemory: readonly MemoryBench[] = [
  {
    id: "audit/peak-10000",
    async measure(effort) {
      if (effort.hurried) return HURRIED;
      const taken = await fleet(LARGE, effort);
      return "skipped" in taken ? taken : { bytes: taken.peakBytes, count: 1 };
    },
  },
];
