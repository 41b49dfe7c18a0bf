import {
  type DmaBuf,
  type DmaDevice,
  type Iova,
  type SoftIommu,
  iova as toIova,
} from "@peerbar/core";
import { Iommufd } from "@peerbar/iommufd";
import { MrAccess, type Pd, RdmaDevice, type RemoteRequest } from "@peerbar/rdma";

/** A buffer as an importer reaches it. */
export interface Imported {
  /** Writes at `at` bytes from the buffer's start, 0 where absent. True where every byte arrived. */
  write(bytes: Uint8Array, at?: bigint): Promise<boolean>;
  read(into: Uint8Array, at?: bigint): Promise<boolean>;
  close(): Promise<void>;
}

export const importerNames = [
  "iommufd",
  "rdma, pinned",
  "rdma, pinned-revocable",
  "rdma, dynamic",
] as const;

export type ImporterName = (typeof importerNames)[number];

/** Imports all of the buffer. @throws DmaBufError where importer, exporter or backend refuses; nothing is left then. */
export function importBuffer(
  name: ImporterName,
  buffer: DmaBuf,
  device: DmaDevice,
  iommu: SoftIommu,
): Promise<Imported> {
  switch (name) {
    case "iommufd":
      return importIntoIoas(buffer, device, iommu);
    case "rdma, pinned":
      return importIntoRegion(buffer, device, "pinned");
    case "rdma, pinned-revocable":
      return importIntoRegion(buffer, device, "pinned-revocable");
    case "rdma, dynamic":
      return importIntoRegion(buffer, device, "dynamic");
  }
}

/** The device passed through with an address space of its own that shows the buffer. */
async function importIntoIoas(
  buffer: DmaBuf,
  device: DmaDevice,
  iommu: SoftIommu,
): Promise<Imported> {
  const { engine } = device;
  if (engine === undefined) throw new Error(`${device.name} has no DMA engine`);
  const iommufd = new Iommufd(iommu);
  try {
    const ioas = iommufd.allocIoas();
    ioas.attach(device);
    const slice = { offset: 0n, length: buffer.size };
    const { iova } = await ioas.mapDmaBuf(buffer, { slice, access: "rw" });
    const address = (at: bigint): Iova => toIova(iova + at);
    return {
      write: async (bytes, at = 0n) => (await engine.write(address(at), bytes)).status === "ok",
      read: async (into, at = 0n) => (await engine.read(address(at), into)).status === "ok",
      close: () => iommufd.close(),
    };
  } catch (error) {
    await iommufd.close();
    throw error;
  }
}

const ACCESS = MrAccess.LOCAL_WRITE | MrAccess.REMOTE_READ | MrAccess.REMOTE_WRITE;

/** A memory region on the NIC, read and written by RDMA. */
async function importIntoRegion(
  buffer: DmaBuf,
  device: DmaDevice,
  mode: "pinned" | "pinned-revocable" | "dynamic",
): Promise<Imported> {
  const rdma = new RdmaDevice(device);
  const pd = rdma.allocPd();
  try {
    const request = { offset: 0n, length: buffer.size, iova: 0n, access: ACCESS, mode };
    const { rkey } = await pd.regDmaBufMr(buffer, request);
    return {
      write: (local, remoteAddr = 0n) => post(pd, "postWrite", { local, remoteAddr, rkey }),
      read: (local, remoteAddr = 0n) => post(pd, "postRead", { local, remoteAddr, rkey }),
      close: () => rdma.close(),
    };
  } catch (error) {
    await rdma.close();
    throw error;
  }
}

/** On a queue pair of its own: the first error would end the queue. */
async function post(
  pd: Pd,
  verb: "postWrite" | "postRead",
  request: RemoteRequest,
): Promise<boolean> {
  const pair = pd.createQp();
  pair.connect(pair);
  try {
    return (await pair[verb](request)).status === "success";
  } finally {
    pair.destroy();
  }
}
