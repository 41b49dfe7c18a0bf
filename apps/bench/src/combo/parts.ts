import { MemoryExporter, PhysicalMemory, SimpleIommu } from "@peerbar/conformance/reference";
import { type DmaBuf, dispose, iova, physAddr, type SoftIommu } from "@peerbar/core";
import { MockIommu } from "@peerbar/iommu-mock";
import { Iommufd } from "@peerbar/iommufd";
import type { P2pdma } from "@peerbar/p2pdma";
import type { Machine, SimFunction } from "@peerbar/pcie-sim";
import { MrAccess, RdmaDevice } from "@peerbar/rdma";
import { VfioPci } from "@peerbar/vfio-pci";

/** Where a combination meets: a simulated server, its IOMMU, a GPU and a NIC that reaches it by bus address. */
export interface Place {
  readonly machine: Machine;
  readonly p2pdma: P2pdma;
  readonly iommu: SoftIommu;
  readonly gpu: SimFunction;
  readonly nic: SimFunction;
  /** Index of the GPU's large BAR. */
  readonly bar: number;
}

/** Shares `bytes` of memory, as a module of the user's exports it under the name `exporter`. */
export interface ExporterPart {
  readonly name: string;
  open(place: Place, bytes: number): Promise<OpenExporter> | OpenExporter;
}

export interface OpenExporter {
  export(): Promise<DmaBuf> | DmaBuf;
  /**
   * The first `length` bytes of its memory, past everything that is timed: what was written is looked for here. Where it is left out, the
   * NIC reads the buffer back.
   */
  peek?(length: number): Promise<Uint8Array> | Uint8Array;
  /** Ends the exporter; every buffer is closed by then. */
  close(): unknown;
}

/** Imports a buffer for the NIC; exported under the name `importer`. */
export interface ImporterPart {
  readonly name: string;
  open(place: Place): Promise<OpenImporter> | OpenImporter;
}

export interface OpenImporter {
  import(buffer: DmaBuf): Promise<ImportedPart> | ImportedPart;
  close(): unknown;
}

/** A buffer imported. */
interface ImportedPart {
  /** Writes at `at` bytes from the buffer's start; true where every byte arrived. */
  write(at: bigint, bytes: Uint8Array): Promise<boolean>;
  close(): unknown;
}

/** An IOMMU; exported under the name `backend`. */
export interface BackendPart {
  readonly name: string;
  make(): SoftIommu;
}

const vfioPci: ExporterPart = {
  name: "vfio-pci",
  async open({ p2pdma, gpu, bar }, bytes) {
    const device = await new VfioPci({ p2pdma }).open(gpu);
    const memory = gpu.bar(bar);
    const ranges = [{ offset: 0n, length: BigInt(bytes) }];
    return {
      export: () => device.exportDmaBuf({ bar, ranges }),
      peek: (length) => memory.peek(0, length),
      close: () => device.close(),
    };
  },
};

const systemMemory: ExporterPart = {
  name: "system-memory",
  open({ machine }, bytes) {
    const owner = new MemoryExporter({ memory: new PhysicalMemory() });
    const start = physAddr(machine.ram.allocate(bytes));
    return {
      export: () => owner.exportRanges([{ start, length: BigInt(bytes) }]),
      peek: (length) => machine.ram.peek(start, length),
      close: () => undefined,
    };
  },
};

const iommufd: ImporterPart = {
  name: "iommufd",
  open({ iommu, nic }) {
    const file = new Iommufd(iommu);
    const ioas = file.allocIoas();
    ioas.attach(nic);
    return {
      async import(buffer) {
        const slice = { offset: 0n, length: buffer.size };
        const mapping = await ioas.mapDmaBuf(buffer, { slice, access: "rw" });
        return {
          write: async (at, bytes) =>
            (await nic.engine.write(iova(mapping.iova + at), bytes)).status === "ok",
          close: () => mapping.unmap(),
        };
      },
      close: () => file.close(),
    };
  },
};

const ACCESS = MrAccess.LOCAL_WRITE | MrAccess.REMOTE_READ | MrAccess.REMOTE_WRITE;

function rdma(mode: "pinned-revocable" | "dynamic"): ImporterPart {
  return {
    name: `rdma-${mode}`,
    open({ nic }) {
      const device = new RdmaDevice(nic);
      const pd = device.allocPd();
      const pair = pd.createQp();
      pair.connect(pair);
      return {
        async import(buffer) {
          const request = { offset: 0n, length: buffer.size, iova: 0n, access: ACCESS, mode };
          const region = await pd.regDmaBufMr(buffer, request);
          return {
            write: async (remoteAddr, local) =>
              (await pair.postWrite({ local, remoteAddr, rkey: region.rkey })).status === "success",
            close: () => region.dereg(),
          };
        },
        close: () => device.close(),
      };
    },
  };
}

export const exporters: readonly ExporterPart[] = [vfioPci, systemMemory];
export const importers: readonly ImporterPart[] = [
  iommufd,
  rdma("pinned-revocable"),
  rdma("dynamic"),
];
export const backends: readonly BackendPart[] = [
  { name: "iommu-mock", make: () => new MockIommu() },
  { name: "simple", make: () => new SimpleIommu() },
];

/** Drops the exporter's reference, whatever else the buffer is. */
export function drop(buffer: DmaBuf): void {
  buffer[dispose]();
}
