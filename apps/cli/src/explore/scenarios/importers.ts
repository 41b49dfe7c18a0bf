import type { Stage } from "@peerbar/conformance/explore";
import { Iommufd } from "@peerbar/iommufd";
import { MrAccess, type MrMode, RdmaDevice } from "@peerbar/rdma";
import { type Machine, SHARED_BYTES, unlessRevoked } from "./machine.js";

const BYTES = Uint8Array.of(1, 2, 3, 4);

/** Registers the shared page as an RDMA region, writes to it from a peer, and deregisters it. */
export function addRdma(stage: Stage, { buffer, nic }: Machine, mode: MrMode): void {
  const { scheduler, events } = stage;
  const device = new RdmaDevice(nic, { scheduler, events });
  const pd = device.allocPd();
  const [qp, peer] = [pd.createQp(), pd.createQp()];
  qp.connect(peer);
  stage.actor("rdma", () =>
    unlessRevoked(async () => {
      const access = MrAccess.LOCAL_WRITE | MrAccess.REMOTE_WRITE;
      const request = { offset: 0n, length: SHARED_BYTES, iova: 0n, access, mode };
      const mr = await pd.regDmaBufMr(buffer, request);
      await qp.postWrite({ local: BYTES, remoteAddr: mr.iova, rkey: mr.rkey });
      await mr.dereg();
    }),
  );
}

/** Maps the shared page into an I/O address space and unmaps it again. */
export function addIommufd(stage: Stage, { buffer, iommu }: Machine): void {
  const { scheduler, events } = stage;
  const ioas = new Iommufd(iommu, { scheduler, events }).allocIoas();
  stage.actor("iommufd", () =>
    unlessRevoked(async () => {
      const slice = { offset: 0n, length: SHARED_BYTES };
      const mapping = await ioas.mapDmaBuf(buffer, { slice, access: "rw" });
      await stage.pause("mapped");
      await mapping.unmap();
    }),
  );
}
