import type { ExporterCapability, ExporterFixture, ExporterSubject } from "@peerbar/conformance";
import { MemoryEngine, PhysicalMemory } from "@peerbar/conformance/reference";
import {
  busAddr,
  type DmaAddr,
  type DmaBuf,
  type DmaDevice,
  type DmaEngine,
  type PciBar,
  type PciFunction,
  type PciPowerState,
  physAddr,
  type Slice,
} from "@peerbar/core";
import { type IommuMode, MockIommu } from "@peerbar/iommu-mock";
import {
  type P2pMapType,
  VfioPci,
  type VfioPciDevice,
  type VfioPciOptions,
} from "@peerbar/vfio-pci";

const GIB = 1n << 30n;
const NIC = "0000:3c:00.0";
const GPU = "0000:3b:00.0";
const MASK = (1n << 64n) - 1n;

/** A function that is its config space and one BAR of memory that really is there, as far as it is exported. */
class GalleryFunction implements PciFunction {
  readonly name = GPU;
  readonly pciAddress = GPU;
  readonly isVirtual = false;
  readonly powerState: PciPowerState = 0;
  readonly dmaMask = MASK;
  readonly bars: readonly (PciBar | undefined)[];
  readonly #config = new Uint8Array(256);

  constructor(bars: readonly (PciBar | undefined)[]) {
    this.bars = bars;
  }

  readConfig(offset: number, size: 1 | 2 | 4): number {
    let value = 0;
    for (let i = 0; i < size; i++) value += (this.#config[offset + i] ?? 0) * 2 ** (8 * i);
    return value;
  }

  writeConfig(offset: number, size: 1 | 2 | 4, value: number): void {
    for (let i = 0; i < size; i++) this.#config[offset + i] = (value >>> (8 * i)) & 0xff;
  }

  reset(): Promise<void> {
    return Promise.resolve();
  }
}

/** How one vfio-pci is set up, and where it goes wrong. */
export interface VfioSetup {
  readonly route?: P2pMapType;
  readonly mode?: IommuMode;
  readonly quirks?: VfioPciOptions["quirks"];
  /** Bus address minus CPU address of the BAR. */
  readonly busOffset?: bigint;
  /** What the exporter is told of that offset. */
  readonly claimedBusOffset?: bigint;
  /** The device as its user sees it. */
  readonly wrap?: (device: VfioPciDevice) => VfioPciDevice;
  /** Whether the exporter knows that BAR 2 is another driver's, and what may be mapped. */
  readonly ownership?: "told" | "ignored";
  readonly nonMappable?: boolean;
}

/** vfio-pci over one function, in front of plain memory and a software IOMMU. */
export function vfioSubject(name: string, setup: VfioSetup = {}): ExporterSubject {
  const route = setup.route ?? "thru-host-bridge";
  const bus: readonly ExporterCapability[] =
    route === "bus-addr"
      ? []
      : ["mapper", ...(setup.mode === "passthrough" ? [] : (["lazy-iova"] as const))];
  return {
    role: "exporter",
    name,
    capabilities: [
      ...(["sgt", "phys", "multi-range", "revoke", "revocable-only", "peer2peer-only"] as const),
      ...(["bytes", "live", "forbidden", "reroute", "close", "reset", "low-power"] as const),
      ...bus,
    ],
    setup: () => fixture(setup, route),
  };
}

async function fixture(setup: VfioSetup, route: P2pMapType): Promise<ExporterFixture> {
  const { busOffset = 0n, quirks } = setup;
  const memory = new PhysicalMemory();
  // Everything the BAR will be asked to hold, with room between the ranges.
  const { start } = memory.allocate(1n << 22n);
  const bar = (index: number, at: bigint, length: bigint): PciBar => ({
    index,
    kind: "memory",
    start: physAddr(at),
    busStart: busAddr(at + (setup.claimedBusOffset ?? busOffset)),
    length,
  });
  const fn = new GalleryFunction([bar(0, start, 64n * GIB), undefined, bar(2, 1n << 44n, GIB)]);
  let reachable = true;
  const p2pdma = { mapType: (): P2pMapType => (reachable ? route : "not-supported") };
  const vfio = new VfioPci({ p2pdma, quirks });
  const told = setup.ownership !== "ignored";
  const opened = await vfio.open(fn, {
    unclaimedBars: told && setup.nonMappable !== true ? [2] : [],
  });
  const device = setup.wrap?.(opened) ?? opened;
  let next = 0n;
  const layout = new Map<DmaBuf, readonly Slice[]>();
  return {
    device: nic(memory, setup.mode ?? "dma", route, busOffset),
    export: async (...sizes) => {
      const ranges = sizes.map((length) => {
        const offset = next;
        next += length + 0x1000n;
        return { offset, length };
      });
      const buffer = await device.exportDmaBuf({ bar: 0, ranges });
      layout.set(buffer, ranges);
      return buffer;
    },
    live: () => device.buffers,
    revoke: () => device.writeConfig(4, 2, 0),
    restore: () => device.writeConfig(4, 2, 2),
    reset: () => device.reset(),
    close: () => device.close(),
    lowPower: (asleep) => (asleep ? device.enterLowPower() : device.exitLowPower()),
    reroute: (on) => {
      reachable = on;
    },
    exportForbidden: async () => {
      const ranges = [{ offset: 0n, length: 0x1000n }];
      if (setup.nonMappable !== true) return device.exportDmaBuf({ bar: 2, ranges });
      const other = new VfioPci({ p2pdma });
      const strange = await other.open(new GalleryFunction(fn.bars), { nonMappableBars: told });
      return strange.exportDmaBuf({ bar: 0, ranges });
    },
    read: (buffer, offset, into) => {
      let left = offset;
      for (const range of layout.get(buffer) ?? []) {
        if (left < range.length) {
          memory.read(start + range.offset + left, into);
          return;
        }
        left -= range.length;
      }
    },
  };
}

/** A peer: behind the IOMMU, or under the same switch, where it puts bus addresses on the wires. */
function nic(
  memory: PhysicalMemory,
  mode: IommuMode,
  route: P2pMapType,
  busOffset: bigint,
): DmaDevice {
  const iommu = new MockIommu({ mode });
  const port = iommu.connect({ name: NIC, isPci: true, dmaMask: MASK, reserved: [] });
  const local = new MemoryEngine(memory);
  const engine: DmaEngine =
    route === "bus-addr"
      ? {
          write: (at, bytes) => local.write(cpu(at, busOffset), bytes),
          read: (at, into) => local.read(cpu(at, busOffset), into),
        }
      : new MemoryEngine(memory, port);
  return { name: NIC, pciAddress: NIC, dmaMask: MASK, dma: port.dma, engine };
}

function cpu(address: DmaAddr, busOffset: bigint): DmaAddr {
  return busAddr(BigInt.asUintN(64, address - busOffset));
}

/** `right` with some operations replaced. */
export function patched<T extends object>(right: T, changes: Partial<T>): T {
  return new Proxy(right, {
    get: (target, key) => {
      if (Object.hasOwn(changes, key)) return Reflect.get(changes, key) as unknown;
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === "function" ? (value.bind(target) as unknown) : value;
    },
  });
}
