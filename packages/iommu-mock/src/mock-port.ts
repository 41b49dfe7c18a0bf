import {
  dispose,
  fromPfn,
  type IommuClient,
  type IommuPort,
  type Iova,
  iova,
  type ObjectWatch,
} from "@peerbar/core";
import type { AddressSpaceDomain } from "./address-space-domain.js";
import { DefaultDomain, type DefaultDomainOptions } from "./default-domain.js";
import { MockDmaMapper } from "./dma-mapper.js";
import type { PageTableFormat } from "./format.js";
import type { Aperture, DomainKind, IoDomain } from "./io-domain.js";
import type { MockAddressSpace } from "./mock-address-space.js";
import type { MockIommu } from "./mock-iommu.js";

/** What is particular to one device. */
export interface DeviceOptions {
  /** Page-table format of the IOMMU unit it sits behind. */
  readonly format?: PageTableFormat["name"];
  /** IOVAs it can use, in bytes, both ends included. */
  readonly aperture?: Aperture;
  /** `swiotlb=force` or a confidential guest: direct MMIO mappings fail with ENOMEM (dma-iova R2). */
  readonly forceBounce?: boolean;
  /** External, untrusted device: unaligned links fail with EPERM. */
  readonly untrusted?: boolean;
  /** Attach was deferred (kdump) and fails: the DMA API has no IOVA and no mapping. */
  readonly deferredAttachFails?: boolean;
}

/** Where a device's DMA is translated while an address space owns it. */
export interface PortAttachment {
  readonly space: MockAddressSpace;
  readonly domain: AddressSpaceDomain;
}

/** One device behind the software IOMMU. */
export class MockPort implements IommuPort {
  readonly name: string;
  readonly client: IommuClient;
  readonly dma: MockDmaMapper;
  readonly #iommu: MockIommu;
  readonly #format: PageTableFormat;
  readonly #aperture: Aperture;
  readonly #kind: DomainKind;
  readonly #domainOptions: DefaultDomainOptions;
  /** Stands for the default domain, its IOVAs, and which domain the device is in. */
  readonly #watch: ObjectWatch | undefined;
  #default: DefaultDomain | undefined;
  #attachment: PortAttachment | undefined;
  #blocks = 0;

  /** @internal Made by `MockIommu.connect`. */
  constructor(
    iommu: MockIommu,
    client: IommuClient,
    kind: DomainKind,
    format: PageTableFormat,
    aperture: Aperture,
    device: DeviceOptions,
    domainOptions: DefaultDomainOptions,
  ) {
    this.name = client.name;
    this.client = client;
    this.#iommu = iommu;
    this.#kind = kind;
    this.#format = format;
    this.#aperture = aperture;
    this.#domainOptions = domainOptions;
    this.#watch = domainOptions.scheduler.watch?.object(`${client.name} translation`);
    const direct = kind === "identity";
    this.dma = new MockDmaMapper(
      client,
      direct ? "bus" : "iova",
      () => {
        if (direct) return undefined;
        // Asked for by each call of the DMA API, and nearly all of them change it.
        this.#watch?.touch(true);
        return this.defaultDomain();
      },
      {
        log: iommu.log,
        unreportedRefusals: iommu.unreportedRefusals,
        kernelMisuse: iommu.hasQuirk("linux-7.2"),
        forceBounce: device.forceBounce ?? false,
        untrusted: device.untrusted ?? false,
        deferredAttachFails: device.deferredAttachFails ?? false,
      },
    );
    // Firmware may use its direct regions from the first moment on.
    if (!direct && client.reserved.some((region) => region.kind?.startsWith("direct") === true)) {
      this.defaultDomain();
    }
  }

  /** The address space that owns the device now; undefined while its default domain translates. */
  get attachment(): PortAttachment | undefined {
    this.#watch?.touch(false);
    return this.#attachment;
  }

  /** Kind of the domain that translates the device's DMA now. */
  get domainKind(): DomainKind {
    this.#watch?.touch(false);
    if (this.#blocks > 0) return "blocked";
    return this.#attachment === undefined ? this.#kind : "unmanaged";
  }

  /** IOVA ranges that the DMA API has given out, and those that wait in caches or in the flush queue. */
  get iovas(): { readonly live: number; readonly cached: number; readonly queued: number } {
    this.#watch?.touch(false);
    const queued = this.#default?.queue?.pending ?? 0;
    const iovas = this.#default?.iovas;
    return { live: (iovas?.live ?? 0) - queued, cached: iovas?.cached ?? 0, queued };
  }

  /** What the device's DMA meets now; undefined while its DMA domain has never been used. */
  get domain(): IoDomain | undefined {
    this.#watch?.touch(false);
    if (this.#blocks > 0) return this.#iommu.blockedDomain;
    if (this.#attachment !== undefined) {
      this.#attachment.space.watch?.touch(false);
      return this.#attachment.domain.io;
    }
    return this.#kind === "identity" ? this.#iommu.identityDomain : this.#default?.domain;
  }

  translate(pfn: number, maxPages: number, write: boolean, out: { pfn: number }): number {
    const { domain } = this;
    const run = domain === undefined ? 0 : domain.translate(pfn, maxPages, write, out);
    if (run === 0) this.#fault(domain, pfn, write);
    return run;
  }

  /** Waits for nothing: flushes the default domain's queue at once, if it has one. */
  flush(): void {
    this.#watch?.touch(true);
    this.#default?.queue?.drain();
  }

  /** Puts the device into the blocking domain until the result is disposed of: every access faults. */
  block(): Disposable {
    this.#watch?.touch(true);
    this.#blocks += 1;
    let blocked = true;
    return {
      [dispose]: () => {
        this.#watch?.touch(true);
        if (blocked) this.#blocks -= 1;
        blocked = false;
      },
    };
  }

  /** @internal The DMA domain, made when first needed: most devices of a machine never use it. */
  defaultDomain(): DefaultDomain {
    this.#default ??= new DefaultDomain(
      this.#iommu.newDomain(this.#kind, this.#format, this.#aperture),
      this.client,
      this.#domainOptions,
      this.#watch,
    );
    return this.#default;
  }

  /** @internal A domain for an address space. */
  newDomain(): IoDomain {
    return this.#iommu.newDomain("unmanaged", this.#format, this.#aperture);
  }

  /** @internal The domain works for this device: the same kind of IOMMU unit. */
  fits(domain: IoDomain): boolean {
    return (
      domain.format === this.#format &&
      domain.aperture.first === this.#aperture.first &&
      domain.aperture.last === this.#aperture.last
    );
  }

  /** @internal */
  moveTo(attachment: PortAttachment | undefined): void {
    this.#watch?.touch(true);
    this.#attachment = attachment;
    this.#iommu.events?.emit({
      type: "iommu-attach",
      device: this.name,
      domain: attachment?.domain.id,
    });
  }

  /** @internal Mapped granules of the default domain, for leak checks. */
  get mappedGranules(): number {
    this.#watch?.touch(false);
    return this.#default?.domain.table?.mappedPages ?? 0;
  }

  /** @internal */
  destroy(): void {
    this.#watch?.touch(true);
    this.#default?.destroy();
    this.#default = undefined;
  }

  #fault(domain: IoDomain | undefined, pfn: number, write: boolean): void {
    const at: Iova = iova(fromPfn(pfn));
    const reason = domain?.whyStopped(pfn) ?? "not-present";
    const access = write ? "w" : "r";
    this.#iommu.faults.push({ device: this.name, iova: at, access, reason });
    this.#iommu.events?.emit({ type: "iommu-fault", device: this.name, iova: at, access, reason });
  }
}
