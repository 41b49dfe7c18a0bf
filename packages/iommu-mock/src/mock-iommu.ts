import {
  DmaBufError,
  defaultScheduler,
  type EventSink,
  type InterconnectName,
  type IommuClient,
  type ObjectWatch,
  type Scheduler,
  type SoftIommu,
} from "@peerbar/core";
import "./events.js";
import { FaultQueue } from "./fault-queue.js";
import { type FlushQueueOptions, flushQueueDefaults } from "./flush-queue.js";
import { type PageTableFormat, type PageTableFormatName, pageTableFormat } from "./format.js";
import {
  type Aperture,
  apertureOf,
  type DomainKind,
  IoDomain,
  type IommuStats,
} from "./io-domain.js";
import { KernelLog } from "./kernel-log.js";
import { MockAddressSpace } from "./mock-address-space.js";
import { type DeviceOptions, MockPort } from "./mock-port.js";
import { FailureInjection, PageMemory } from "./page-memory.js";

/** How devices are translated by default: as `iommu.passthrough=`, `iommu.strict=` and `iommu=off` choose it. */
export type IommuMode = "off" | "passthrough" | "dma" | "dma-fq";

/** Which machine's IOMMU this is: mode, format, failures, and the kernel's defects. */
export interface MockIommuOptions {
  /** "dma" by default. */
  readonly mode?: IommuMode;
  /** "x86-64" by default. */
  readonly format?: PageTableFormatName;
  /** IOVAs that can be used, in bytes; what the format can express by default. */
  readonly aperture?: Aperture;
  /** Differences of single devices, by name. */
  readonly devices?: Readonly<Record<string, DeviceOptions>>;
  /** For the flush queue's window; core's default scheduler otherwise. */
  readonly scheduler?: Scheduler;
  readonly events?: EventSink;
  /** The kernel's per-CPU setting by default. */
  readonly flushQueue?: FlushQueueOptions;
  /** Virtual microseconds that one invalidation of the IOTLB takes; 0 by default. */
  readonly flushLatencyUs?: number;
  /** Faults kept before new ones are only counted; 256 by default. */
  readonly faultCapacity?: number;
  /** Pages that all page tables together may use. */
  readonly maxTablePages?: number;
  /** Full magazines that each IOVA cache keeps per size; unbounded in the kernel. */
  readonly iovaDepotLimit?: number;
  /** False frees IOVAs to the tree at once. */
  readonly iovaCaching?: boolean;
  /**
   * Links over other links are refused by the device, and nobody is told: Linux's virtio-iommu driver queues its map requests and does not
   * look at what became of them (`viommu_iotlb_sync_map`). The bytes of the refused link are then in nobody's table.
   */
  readonly unreportedRefusals?: boolean;
  /** `iommu.forcedac`: PCI devices get addresses above 4 GiB from the start (dma-iova R18). */
  readonly forceDac?: boolean;
  /** Reproduces the defects of that kernel, and its silence about misuse of the DMA API, instead of doing right. */
  readonly quirks?: "linux-7.2";
}

/** What is in use; equal before and after means nothing leaked. */
export interface IommuUsage {
  /** Pages of page tables. */
  readonly tablePages: number;
  /** Granules mapped, in all domains. */
  readonly mappedGranules: number;
  /** IOVA ranges given out by the DMA API and not given back. */
  readonly iovas: number;
  /** Areas of all address spaces. */
  readonly areas: number;
  /** Domains of all address spaces. */
  readonly domains: number;
}

/**
 * A software IOMMU: domains with real page tables, the DMA API with its IOVA allocator, and address spaces for iommufd.
 * A simulated machine puts it at its root complex; without one, `connect` gives ports to translate by hand.
 */
export class MockIommu implements SoftIommu {
  readonly name = "mock";
  readonly accepts: readonly InterconnectName[] = ["phys"];
  readonly mode: IommuMode;
  readonly faults: FaultQueue;
  readonly injection: FailureInjection;
  readonly log = new KernelLog();
  readonly memory: PageMemory;
  readonly stats: IommuStats = { maps: 0, unmaps: 0, flushes: 0, flushWaitUs: 0 };
  readonly events: EventSink | undefined;
  /** @internal */
  readonly identityDomain: IoDomain;
  /** @internal */
  readonly blockedDomain: IoDomain;
  readonly #options: MockIommuOptions;
  readonly #scheduler: Scheduler;
  readonly #ports = new Map<string, MockPort>();
  readonly #spaces = new Set<MockAddressSpace>();
  /** Stands for who is connected, for ids, and for what all domains share. */
  readonly #watch: ObjectWatch | undefined;
  #ids = 0;

  /** @throws DmaBufError EINVAL for an unknown format or an aperture that it cannot express. */
  constructor(options: MockIommuOptions = {}) {
    this.#options = options;
    this.mode = options.mode ?? "dma";
    this.events = options.events;
    this.#scheduler = options.scheduler ?? defaultScheduler;
    const { watch } = this.#scheduler;
    this.#watch = watch?.object("iommu");
    this.faults = new FaultQueue(options.faultCapacity, watch?.object("iommu faults"));
    this.injection = new FailureInjection(this.#watch);
    this.memory = new PageMemory(options.maxTablePages, this.injection, this.#watch);
    const format = pageTableFormat(options.format ?? "x86-64");
    const aperture = apertureOf(format, options.aperture);
    this.identityDomain = this.newDomain("identity", format, aperture);
    this.blockedDomain = this.newDomain("blocked", format, aperture);
  }

  /** What is in use now. */
  get usage(): IommuUsage {
    this.#watch?.touch(false);
    let mappedGranules = 0;
    let iovas = 0;
    for (const port of this.#ports.values()) {
      mappedGranules += port.mappedGranules;
      iovas += port.iovas.live;
    }
    let areas = 0;
    let domains = 0;
    for (const space of this.#spaces) {
      areas += space.areas.length;
      for (const { io } of space.domains) {
        domains += 1;
        mappedGranules += io.table?.mappedPages ?? 0;
      }
    }
    return { tablePages: this.memory.used, mappedGranules, iovas, areas, domains };
  }

  /**
   * Puts a device behind this IOMMU, in the default domain that the mode says.
   *
   * @throws DmaBufError EEXIST where a device of that name is connected; EINVAL for device options that do not fit.
   */
  connect(client: IommuClient): MockPort {
    this.#watch?.touch(true);
    if (this.#ports.has(client.name)) {
      throw new DmaBufError("EEXIST", "iommu.connect", `${client.name} is connected already`, {
        hint: "disconnect it first: names are unique in a machine",
      });
    }
    const device = this.#options.devices?.[client.name] ?? {};
    const format = pageTableFormat(device.format ?? this.#options.format ?? "x86-64");
    const sameFormat = device.format === undefined || device.format === this.#options.format;
    const wanted = device.aperture ?? (sameFormat ? this.#options.aperture : undefined);
    const port = new MockPort(
      this,
      client,
      this.mode === "dma" || this.mode === "dma-fq" ? this.mode : "identity",
      format,
      apertureOf(format, wanted),
      device,
      {
        scheduler: this.#scheduler,
        flushQueue: this.#options.flushQueue ?? flushQueueDefaults.perCpu,
        flushLatencyUs: this.#options.flushLatencyUs ?? 0,
        depotLimit: this.#options.iovaDepotLimit ?? Number.POSITIVE_INFINITY,
        iovaCaching: this.#options.iovaCaching ?? true,
        forceDac: this.#options.forceDac ?? false,
        log: this.log,
        injection: this.injection,
      },
    );
    this.#ports.set(client.name, port);
    return port;
  }

  /** Takes a device away, as hot-unplug does: it leaves its address space and its default domain goes with all mappings. */
  disconnect(name: string): void {
    this.#watch?.touch(true);
    const port = this.#ports.get(name);
    if (port === undefined) return;
    port.attachment?.space.detach({ name, pciAddress: undefined, dmaMask: 0n });
    port.destroy();
    this.#ports.delete(name);
  }

  allocAddressSpace(): MockAddressSpace {
    const space = new MockAddressSpace(
      this.nextId(),
      this,
      this.#scheduler.watch?.object("address space"),
    );
    this.#spaces.add(space);
    return space;
  }

  /** The port of a connected device. */
  findPort(name: string): MockPort | undefined {
    this.#watch?.touch(false);
    return this.#ports.get(name);
  }

  /** @internal @throws DmaBufError ENODEV where no IOMMU translates the device. */
  portOf(name: string, syscall: string): MockPort {
    const port = this.mode === "off" ? undefined : this.findPort(name);
    if (port !== undefined) return port;
    throw new DmaBufError("ENODEV", syscall, `${name} is not behind this IOMMU`, {
      hint: this.mode === "off" ? "the IOMMU is off" : "connect the device first",
    });
  }

  /** @internal */
  get unreportedRefusals(): boolean {
    return this.#options.unreportedRefusals ?? false;
  }

  /** @internal */
  hasQuirk(quirk: "linux-7.2"): boolean {
    return this.#options.quirks === quirk;
  }

  /** @internal */
  nextId(): number {
    this.#watch?.touch(true);
    this.#ids += 1;
    return this.#ids;
  }

  /** @internal */
  newDomain(kind: DomainKind, format: PageTableFormat, aperture: Aperture): IoDomain {
    const latency = this.#options.flushLatencyUs ?? 0;
    return new IoDomain(kind, format, aperture, this.memory, this.stats, latency);
  }

  /** @internal */
  forget(space: MockAddressSpace): void {
    this.#watch?.touch(true);
    this.#spaces.delete(space);
  }
}
