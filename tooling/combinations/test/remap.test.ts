import { busAddr } from "@peerbar/core";
import { Iommufd } from "@peerbar/iommufd";
import { expect, it } from "vitest";
import { makeStage } from "./stage.js";

const slice = { offset: 0n, length: 0x2000n };

it.each(["iommu-mock dma", "conformance SimpleIommu"] as const)(
  "remapOnRestore on %s: after each reset of a vfio-pci device the areas and their copies come back",
  async (backend) => {
    const stage = await makeStage({ backend, route: "thru-host-bridge" }, [slice]);
    const { exported, server } = stage;
    const iommufd = new Iommufd(server.backend.iommu, { remapOnRestore: true });
    const [ioas, other] = [iommufd.allocIoas(), iommufd.allocIoas()];
    ioas.attach(server.nic);
    const mapping = await ioas.mapDmaBuf(exported.buffer, { slice, access: "rw" });
    const copy = other.copy(ioas, mapping.iova, slice.length, { access: "r" });
    const write = async (byte: number) =>
      (await server.nic.engine.write(busAddr(mapping.iova), Uint8Array.of(byte))).status;
    for (let round = 1; round <= 3; round++) {
      await exported.revoke();
      expect([mapping.revoked, copy.revoked]).toEqual([true, true]);
      expect(await write(1)).toBe("iommu-fault");
      await exported.restore();
      await iommufd.settled();
      expect([mapping.revoked, copy.revoked]).toEqual([false, false]);
      expect(await write(round)).toBe("ok");
      expect(exported.peek()[0]).toBe(round);
    }
    await iommufd.close();
    await stage.end();
  },
);
