import { isDmaBufError } from "@peerbar/core";
import { describe, expect, it } from "vitest";
import type { IovaStrategy } from "../src/index.js";
import { type BackedMachine, backedMachine } from "./fixtures/backed-machine.js";
import { settle } from "./fixtures/errors.js";
import { EXPRESS, FakeFunction, MIB, memoryBar, PM } from "./fixtures/fake-function.js";
import { DynamicImporter } from "./fixtures/fake-importer.js";
import { ONE_PAGE, rig } from "./fixtures/rig.js";

/** Numbers from 0 to below `n`, the same for one seed. */
function dice(seed: number): (n: number) => number {
  let state = seed >>> 0;
  return (n) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
}

/** An importer that maps and unmaps as it likes, while it is told to let go. */
async function restless(
  importer: DynamicImporter,
  roll: (n: number) => number,
  running: () => boolean,
): Promise<{ mapped: number; refused: number }> {
  const seen = { mapped: 0, refused: 0 };
  while (running()) {
    try {
      await importer.map();
      seen.mapped += 1;
    } catch (error) {
      if (!isDmaBufError(error) || error.code !== "ENODEV") throw error;
      seen.refused += 1;
    }
    await settle(roll(6));
    if (roll(2) === 0) await importer.unmap();
  }
  await importer.unmap();
  return seen;
}

async function storm(strategy: IovaStrategy, mode: "dma" | "dma-fq", seed: number): Promise<void> {
  const machine: BackedMachine = backedMachine(mode);
  const before = machine.iommu.usage;
  const all = await rig({
    bars: [memoryBar(0, 0x100_0000_0000n, 16n * MIB)],
    answer: "thru-host-bridge",
    vfio: { iovaStrategy: strategy, events: undefined },
  });
  const { device } = all;
  const buffers = await Promise.all(
    [0n, 1n, 2n].map((i) => {
      const range = { offset: i * MIB, length: MIB };
      return device.exportDmaBuf({ bar: 0, ranges: i === 2n ? [range, range] : [range] });
    }),
  );
  const importers = buffers.flatMap((buffer) => [
    new DynamicImporter(buffer, machine.device),
    new DynamicImporter(buffer, machine.device),
  ]);
  const roll = dice(seed);
  let running = true;
  let stray = 0;
  const fn = all.fn;
  fn.duringReset = () => {
    // R16: at the moment of a reset nobody has a mapping.
    for (const { attachment } of importers) stray += attachment.mappings;
  };
  const work = importers.map((importer) => restless(importer, dice(seed + 1), () => running));
  const triggers = [
    () => device.reset(),
    () => device.writeConfig(EXPRESS + 8, 2, 0x8000),
    () => all.vfio.hotReset([device]),
  ] as const;
  for (let i = 0; i < 1000; i++) {
    const which = i % 10 === 0 ? roll(3) : 0;
    await (triggers[which] ?? triggers[0])();
    await settle(roll(4));
    if (i % 50 === 0) {
      await device.writeConfig(PM + 4, 2, 3);
      await device.writeConfig(PM + 4, 2, 0);
    }
  }
  running = false;
  const seen = await Promise.all(work);
  expect(stray).toBe(0);
  expect(fn.log.filter((line) => line === "reset")).toHaveLength(1000);
  expect(Math.min(...seen.map(({ mapped }) => mapped))).toBeGreaterThan(100);
  for (const importer of importers) {
    expect(importer.invalidated).toBeGreaterThanOrEqual(2000);
    importer.attachment.detach();
  }
  for (const buffer of buffers) buffer.close();
  await device.close();
  await settle();
  expect([device.buffers, device.registrations]).toEqual([0, 0]);
  expect(machine.iommu.usage.mappedGranules).toBe(before.mappedGranules);
}

describe("reset storms", () => {
  for (const strategy of ["mapping", "attachment"] as const) {
    for (const mode of ["dma", "dma-fq"] as const) {
      it(`1,000 resets against six importers that map and unmap (${strategy}, ${mode}, seed 7)`, async () => {
        await storm(strategy, mode, 7);
      });
    }
  }

  it("gives back every IOVA (strict)", async () => {
    for (const strategy of ["mapping", "attachment"] as const) {
      const { iommu, device: nic } = backedMachine("dma");
      const { device } = await rig({
        answer: "thru-host-bridge",
        vfio: { iovaStrategy: strategy },
      });
      const buffer = await device.exportDmaBuf(ONE_PAGE);
      const importer = new DynamicImporter(buffer, nic);
      for (let i = 0; i < 100; i++) {
        await importer.map();
        await device.reset();
      }
      await importer.leave();
      expect([iommu.usage.iovas, iommu.usage.mappedGranules]).toEqual([0, 0]);
    }
  });

  it("opens, shares and closes 200 times without leaving anything behind (vfio-pci-dmabuf R29)", async () => {
    const { vfio, device } = await rig();
    await device.close();
    const fn = new FakeFunction();
    const { iommu, device: nic } = backedMachine("dma");
    for (let i = 0; i < 200; i++) {
      const again = await vfio.open(fn);
      const buffer = await again.exportDmaBuf(ONE_PAGE);
      const importer = new DynamicImporter(buffer, nic);
      await importer.map();
      await again.close();
      await importer.leave();
      buffer.close();
      expect(again.registrations).toBe(0);
    }
    expect([...vfio.devices]).toEqual([]);
    expect(iommu.usage.iovas).toBe(0);
  });
});
