// What a page would do: parse what the user dropped on it, decide, share and move bytes. No Node, no DOM.
import { isDmaBufError } from "@peerbar/core";
import { MockIommu } from "@peerbar/iommu-mock";
import { Iommufd } from "@peerbar/iommufd";
import { generateServer, P2pdma, parseTopology, toCapture } from "@peerbar/p2pdma";
import { Machine } from "@peerbar/pcie-sim";
import { RdmaDevice } from "@peerbar/rdma";
import { VfioPci } from "@peerbar/vfio-pci";

export async function main(): Promise<string> {
  const topology = parseTopology(toCapture(generateServer()));
  const p2pdma = new P2pdma(topology);
  const { mapType } = p2pdma.decide("1b:00.0", "1d:00.0");
  const iommu = new MockIommu();
  const machine = Machine.from(topology, { iommu });
  const gpu = await new VfioPci({ p2pdma }).open(machine.function("0000:1b:00.0"));
  const buffer = await gpu.exportDmaBuf({ bar: 2, ranges: [{ offset: 0n, length: 0x1000n }] });
  const nic = machine.function("0000:1d:00.0");
  const ioas = new Iommufd(iommu).allocIoas();
  ioas.attach(nic);
  const slice = { offset: 0n, length: 0x1000n };
  const { iova } = await ioas.mapDmaBuf(buffer, { slice, access: "rw" });
  const { status } = await nic.engine.write(iova, Uint8Array.of(1, 2, 3));
  const pd = new RdmaDevice(machine.function("0000:1d:00.0")).allocPd();
  await gpu.reset();
  try {
    await gpu.exportDmaBuf({ bar: 9, ranges: [slice] });
    return "BAR 9 was exported";
  } catch (error) {
    const code = isDmaBufError(error) ? error.code : "no errno";
    return [mapType, status, machine.dirty().length, code, typeof pd].join(" ");
  }
}
