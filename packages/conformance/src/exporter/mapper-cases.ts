import type { DmaDirection } from "@peerbar/core";
import type { ConformanceCase } from "../case.js";
import { check, equal } from "../expect.js";
import { probeDevice } from "../mapper-probe.js";
import { failEveryStep } from "./fail-every-step.js";
import type { ExporterCapability, ExporterFixture } from "./fixture.js";
import { ScriptedImporter } from "./scripted-importer.js";

type ExporterCase = ConformanceCase<ExporterFixture, ExporterCapability>;

const directionIsPermission: ExporterCase = {
  id: "map/direction-is-permission",
  title: "every range is mapped in the importer's direction: what it only reads it cannot write",
  rules: "dma-iova R6, dma-buf R25",
  needs: ["sgt", "mapper", "multi-range"],
  async run(fixture) {
    const buffer = await fixture.export(0x3000n, 0x1000n, 0x2000n);
    const { device, probe } = probeDevice(fixture.device);
    const importer = new ScriptedImporter(buffer, device);
    const directions: readonly DmaDirection[] = ["to-device", "from-device", "bidirectional"];
    for (const direction of directions) {
      const table = await importer.map(direction);
      await importer.unmap(table, direction);
      const seen = probe?.takeDirections() ?? [];
      check(seen.length > 0, "the device's mapper was not asked");
      for (const one of seen) equal(one, direction, `direction of a range, mapped ${direction}`);
    }
    importer.attachment.detach();
    buffer.close();
  },
};

const noIovaSpace: ExporterCase = {
  id: "map/without-iova-space",
  title:
    "where the mapper grants no IOVA a map goes range by range or fails; failures leave nothing",
  rules: "dma-iova R1, R31, R32, vfio-pci-dmabuf R33, R38",
  needs: ["sgt", "mapper", "multi-range"],
  async run(fixture) {
    const buffer = await fixture.export(0x3000n, 0x1000n, 0x2000n);
    await failEveryStep(buffer, fixture, { grants: false });
    buffer.close();
  },
};

/** What an exporter asks of the importing device's mapper. */
export const mapperCases: readonly ExporterCase[] = [directionIsPermission, noIovaSpace];
