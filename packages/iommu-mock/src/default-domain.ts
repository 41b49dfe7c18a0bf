import type { IommuClient, ObjectWatch, Scheduler } from "@peerbar/core";
import { FlushQueue, type FlushQueueOptions } from "./flush-queue.js";
import type { IoDomain } from "./io-domain.js";
import { type GranuleRange, IovaAllocator } from "./iova-allocator.js";
import type { KernelLog } from "./kernel-log.js";
import type { FailureInjection } from "./page-memory.js";
import { PROT_READ, PROT_WRITE } from "./prot.js";

export interface DefaultDomainOptions {
  readonly scheduler: Scheduler;
  readonly flushQueue: FlushQueueOptions;
  readonly flushLatencyUs: number;
  readonly depotLimit: number;
  readonly iovaCaching: boolean;
  /** `iommu.forcedac`: skip the 32-bit attempt for PCI devices. */
  readonly forceDac: boolean;
  readonly log: KernelLog;
  readonly injection: FailureInjection;
}

/** A DMA or DMA-FQ domain with its IOVA allocator: what drivers/iommu/dma-iommu.c keeps for one device (a group of one here). */
export class DefaultDomain {
  readonly domain: IoDomain;
  readonly iovas: IovaAllocator;
  readonly queue: FlushQueue | undefined;
  readonly #options: DefaultDomainOptions;
  readonly #name: string;
  /** Highest granule the device may be given. */
  readonly #limit: number;
  readonly #limit32: number;
  #try32First: boolean;

  /**
   * Takes `domain` over.
   *
   * @param watch - the port's, for what the flush queue does on its own.
   * @throws DmaBufError ENOMEM or ERANGE where a direct region cannot be mapped; nothing of the domain is left then.
   */
  constructor(
    domain: IoDomain,
    client: IommuClient,
    options: DefaultDomainOptions,
    watch: ObjectWatch | undefined,
  ) {
    this.domain = domain;
    this.#options = options;
    this.#name = client.name;
    const shift = BigInt(domain.format.pageShift);
    let top = domain.aperture.last;
    if (client.dmaMask < top) top = client.dmaMask;
    // A range ends at the last whole granule below the limit.
    this.#limit = Number((top + 1n) >> shift) - 1;
    this.#limit32 = Number(0xffff_ffffn >> shift);
    this.#try32First = client.isPci && this.#limit > this.#limit32 && !options.forceDac;
    this.iovas = new IovaAllocator({
      shift: Number(shift),
      firstGranule: Math.max(1, Number(domain.aperture.first >> shift)),
      reserved: reservedGranules(client, shift),
      depotLimit: options.depotLimit,
      caching: options.iovaCaching,
      log: options.log,
    });
    try {
      this.#mapDirect(client, shift);
    } catch (error) {
      domain.destroy();
      throw error;
    }
    this.queue =
      domain.kind === "dma-fq"
        ? new FlushQueue(
            domain,
            options.scheduler,
            options.flushQueue,
            options.flushLatencyUs,
            (granule, granules) => {
              watch?.touch(true);
              this.iovas.free(granule, granules);
            },
          )
        : undefined;
  }

  /** `iommu_dma_alloc_iova`: below 4 GiB first for PCI devices, until that fails once (dma-iova R18). 0 where there is no room. */
  allocIova(granules: number): number {
    if (this.#options.injection.fails("iova")) return 0;
    if (this.#try32First) {
      const found = this.iovas.alloc(granules, this.#limit32, false);
      if (found !== 0) return found;
      this.#try32First = false;
      this.#options.log.notice(this.#name, "Using 64-bit DMA addresses", "dma-iova R18");
    }
    return this.iovas.alloc(granules, this.#limit, true);
  }

  /**
   * Unmaps and gives the IOVA back: at once in a strict domain, after the next flush in a lazy one (dma-iova R13). Returns the granules
   * that were unmapped.
   */
  unmapAndFree(granule: number, granules: number): number {
    const { queue } = this;
    if (queue === undefined) {
      const gone = this.domain.unmap(granule, granules);
      this.domain.flush();
      this.iovas.free(granule, granules);
      return gone;
    }
    const runs = queue.capture(granule, granules);
    const gone = this.domain.unmap(granule, granules);
    queue.add(granule, granules, runs);
    return gone;
  }

  destroy(): void {
    this.queue?.drain();
    this.domain.destroy();
  }

  /** Firmware's direct regions are mapped one to one before the device may do DMA; where they overlap, once. */
  #mapDirect(client: IommuClient, shift: bigint): void {
    const direct = client.reserved
      .filter(({ kind }) => kind === "direct" || kind === "direct-relaxable")
      .map(({ first, last }) => ({
        from: Number(first >> shift),
        end: Number((last >> shift) + 1n),
      }))
      .filter(({ end }) => end <= this.#limit + 1)
      .sort((a, b) => a.from - b.from);
    let done = 0;
    for (const { from, end } of direct) {
      const low = Math.max(from, done);
      if (low >= end) continue;
      this.domain.table?.map(low, low, end - low, PROT_READ | PROT_WRITE);
      done = end;
    }
  }
}

function reservedGranules(client: IommuClient, shift: bigint): GranuleRange[] {
  return [...client.reserved, ...(client.bridgeWindows ?? [])].map(({ first, last }) => ({
    first: Number(first >> shift),
    last: Number(last >> shift),
  }));
}
