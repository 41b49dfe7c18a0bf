import { dispose, type Scheduler } from "@peerbar/core";
import type { IoDomain, StaleTranslations } from "./io-domain.js";
import type { Translation } from "./io-page-table.js";

/** Size and window of a flush queue. */
export interface FlushQueueOptions {
  /** Slots of the ring; one stays empty, so `entries - 1` can wait. A power of two. */
  readonly entries: number;
  /** Longest time an unmapped page stays reachable, in microseconds of virtual time. */
  readonly windowUs: number;
}

/** The kernel's two settings (dma-iova R13). */
export const flushQueueDefaults = {
  /** One queue per CPU. */
  perCpu: { entries: 256, windowUs: 10_000 },
  /** One queue for all, where page tables are shadowed by a hypervisor. */
  shadow: { entries: 32_768, windowUs: 1_000_000 },
} as const satisfies Record<string, FlushQueueOptions>;

interface StaleRun {
  readonly iova: number;
  readonly pages: number;
  readonly phys: number;
  readonly prot: number;
}

interface QueuedRange {
  readonly granule: number;
  readonly granules: number;
  readonly runs: readonly StaleRun[];
}

/**
 * Unmapped ranges of a DMA-FQ domain that wait for one invalidation of the whole IOTLB. Until then the device may still reach the old
 * target and the IOVA is not free (dma-iova R13). Real hardware forgets earlier; this model keeps every entry as long as it is allowed to,
 * so that a revoke that relies on luck is seen (dma-iova R14).
 */
export class FlushQueue implements StaleTranslations {
  readonly #domain: IoDomain;
  readonly #scheduler: Scheduler;
  readonly #options: FlushQueueOptions;
  readonly #latencyUs: number;
  readonly #free: (granule: number, granules: number) => void;
  #queue: QueuedRange[] = [];
  /** Batches handed to a flush that has not ended. */
  readonly #flushing = new Set<readonly QueuedRange[]>();
  #timer: Disposable | undefined;

  constructor(
    domain: IoDomain,
    scheduler: Scheduler,
    options: FlushQueueOptions,
    latencyUs: number,
    free: (granule: number, granules: number) => void,
  ) {
    this.#domain = domain;
    this.#scheduler = scheduler;
    this.#options = options;
    this.#latencyUs = latencyUs;
    this.#free = free;
    domain.stale = this;
  }

  /** Ranges whose IOVA is not free yet. */
  get pending(): number {
    let ranges = this.#queue.length;
    for (const batch of this.#flushing) ranges += batch.length;
    return ranges;
  }

  /** The translations of a range, before they are unmapped. */
  capture(granule: number, granules: number): StaleRun[] {
    const runs: StaleRun[] = [];
    const found: Translation = { pfn: 0, prot: 0 };
    let at = granule;
    const end = granule + granules;
    while (at < end) {
      const run = this.#domain.table?.lookup(at, end - at, found) ?? 0;
      if (run === 0) break;
      runs.push({ iova: at, pages: run, phys: found.pfn, prot: found.prot });
      at += run;
    }
    return runs;
  }

  /** Queues an unmapped range; its IOVA is freed after the next flush. */
  add(granule: number, granules: number, runs: readonly StaleRun[]): void {
    if (this.#queue.length >= this.#options.entries - 1) this.#flushNow();
    this.#queue.push({ granule, granules, runs });
    this.#timer ??= this.#scheduler.at(this.#scheduler.nowUs + this.#options.windowUs, () => {
      this.#timer = undefined;
      this.#flushLater();
    });
  }

  lookup(iova: number, max: number, need: number, out: Translation): number {
    let found = lookupIn(this.#queue, iova, max, need, out);
    if (found > 0 || this.#flushing.size === 0) return found;
    for (const batch of this.#flushing) {
      found = lookupIn(batch, iova, max, need, out);
      if (found > 0) break;
    }
    return found;
  }

  /** Flushes and frees everything at once, and stops the timer. */
  drain(): void {
    this.#timer?.[dispose]();
    this.#timer = undefined;
    this.#flushNow();
  }

  #flushNow(): void {
    this.#domain.flush();
    const done = [...this.#flushing, this.#queue];
    this.#flushing.clear();
    this.#queue = [];
    for (const batch of done) this.#freeAll(batch);
  }

  #flushLater(): void {
    if (this.#latencyUs === 0) {
      this.#flushNow();
      return;
    }
    const batch = this.#queue;
    this.#flushing.add(batch);
    this.#queue = [];
    this.#scheduler.at(this.#scheduler.nowUs + this.#latencyUs, () => {
      // An overflow or a drain was faster.
      if (!this.#flushing.delete(batch)) return;
      this.#domain.flush();
      this.#freeAll(batch);
    });
  }

  #freeAll(batch: readonly QueuedRange[]): void {
    for (const { granule, granules } of batch) this.#free(granule, granules);
  }
}

function lookupIn(
  queue: readonly QueuedRange[],
  iova: number,
  max: number,
  need: number,
  out: Translation,
): number {
  for (let i = queue.length - 1; i >= 0; i--) {
    for (const run of queue[i]?.runs ?? []) {
      const offset = iova - run.iova;
      if (offset < 0 || offset >= run.pages || (run.prot & need) === 0) continue;
      out.pfn = run.phys + offset;
      out.prot = run.prot;
      return Math.min(max, run.pages - offset);
    }
  }
  return 0;
}
