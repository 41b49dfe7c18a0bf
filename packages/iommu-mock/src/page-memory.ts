import { DmaBufError, type ObjectWatch } from "@peerbar/core";

/** What can be made to fail: a page of a page table, an IOVA range, a map call into a domain, an area or domain object. */
export type FailureSite = "table" | "iova" | "map" | "area" | "domain";

/**
 * Fails the Nth allocation, as the kernel's `fail_nth` does. Counting starts when {@link arm} is called; each site that could run out of
 * memory counts as one call.
 */
export class FailureInjection {
  /** Calls seen since {@link arm}. */
  calls = 0;
  /** Site that failed; undefined while none has. */
  fired: FailureSite | undefined;
  #nth = 0;
  #site: FailureSite | undefined;
  readonly #watch: ObjectWatch | undefined;

  /** @param watch - told of each call; an explorer's */
  constructor(watch?: ObjectWatch) {
    this.#watch = watch;
  }

  /** Fails call number `nth` (from 1), of one site or of all; 0 counts only. */
  arm(nth: number, site?: FailureSite): void {
    this.#watch?.touch(true);
    this.calls = 0;
    this.fired = undefined;
    this.#nth = nth;
    this.#site = site;
  }

  /** No allocation fails on purpose any more. */
  disarm(): void {
    this.#watch?.touch(true);
    this.#nth = 0;
    this.#site = undefined;
  }

  /** @internal True where this call has to fail. */
  fails(site: FailureSite): boolean {
    this.#watch?.touch(this.#nth > 0);
    if (this.#site !== undefined && this.#site !== site) return false;
    this.calls += 1;
    if (this.calls !== this.#nth) return false;
    this.fired = site;
    return true;
  }

  /** @internal @throws DmaBufError ENOMEM where this call has to fail. */
  check(site: FailureSite, syscall: string): void {
    if (this.fails(site)) {
      throw new DmaBufError("ENOMEM", syscall, `injected failure of ${site} call ${this.calls}`);
    }
  }
}

/** Pages that page tables may use, shared by all domains of one IOMMU. */
export class PageMemory {
  /** Pages in use now. */
  used = 0;
  /** Most pages in use at one time. */
  peak = 0;
  /** Pages at most; Infinity by default. */
  limit: number;
  readonly injection: FailureInjection;
  readonly #watch: ObjectWatch | undefined;

  /**
   * @param limit - pages in use at most, for page tables
   * @param injection - asked before each page
   */
  constructor(
    limit = Number.POSITIVE_INFINITY,
    injection = new FailureInjection(),
    watch?: ObjectWatch,
  ) {
    this.limit = limit;
    this.injection = injection;
    this.#watch = watch;
  }

  /** @internal Takes one page; false where there is none. */
  take(): boolean {
    this.#tell();
    if (this.used >= this.limit || this.injection.fails("table")) return false;
    this.used += 1;
    if (this.used > this.peak) this.peak = this.used;
    return true;
  }

  /** @internal */
  give(): void {
    this.#tell();
    this.used -= 1;
  }

  /** Without a limit nobody notices what others take. */
  #tell(): void {
    if (this.limit !== Number.POSITIVE_INFINITY) this.#watch?.touch(true);
  }
}
