import { MockIommu } from "@peerbar/iommu-mock";
import { generateServer, P2pdma, type ServerOptions } from "@peerbar/p2pdma";
import { Machine } from "@peerbar/pcie-sim";
import { VfioPci } from "@peerbar/vfio-pci";
import { NvmeDriver } from "../src/driver.js";

/** A GPU server with an IOMMU: a GPU given to vfio-pci, and the NVMe drive that sits below the same switch, or another. */
export async function stage(where: "beside" | "far", options: ServerOptions = {}) {
  const topology = generateServer(options);
  const iommu = new MockIommu({ mode: "dma" });
  const machine = Machine.from(topology, { iommu });
  const gpu = machine.function("0000:1b:00.0");
  const drives = machine.functions.filter((fn) => fn.info.classCode === 0x010802);
  const fn = where === "beside" ? drives[0] : drives.at(-1);
  if (fn === undefined) throw new Error("the server has no drive");
  const vfio = await new VfioPci({ p2pdma: new P2pdma(topology) }).open(gpu);
  return { machine, gpu, vfio, iommu, driver: await NvmeDriver.open(machine, fn) };
}
