import { NVME_BLOCK } from "@peerbar/pcie-sim";
import { describe, expect, test } from "vitest";
import { BlockImport } from "../src/importer.js";
import { stage } from "./machine.js";

const MIB = 0x10_0000n;
const pattern = Uint8Array.from({ length: 3 * 4096 + NVME_BLOCK }, (_, at) => (at * 7) & 0xff);
const BLOCKS = pattern.length / NVME_BLOCK;

// Below one switch the mapping is a bus address; across the host bridge it goes through the IOMMU. The drive cannot tell.
describe.each(["beside", "far"] as const)("a drive %s the GPU", (where) => {
  test("loads blocks straight into the BAR, and stores them back from there", async () => {
    const { gpu, vfio, driver } = await stage(where);
    driver.drive.media.write(64 * NVME_BLOCK, pattern, 0, pattern.length);
    // Two ranges, the second below the first: the table has more than one entry.
    const ranges = [
      { offset: 4n * MIB, length: 0x2000n },
      { offset: MIB, length: 0x2000n },
    ];
    const buffer = await vfio.exportDmaBuf({ bar: 2, ranges });
    const blocks = await BlockImport.open(driver, buffer, { offset: 0n, length: buffer.size });

    await blocks.load(64, BLOCKS, 0n);
    expect(gpu.bar(2).peek(4 * 0x10_0000, 0x2000)).toEqual(pattern.subarray(0, 0x2000));
    const rest = pattern.subarray(0x2000);
    expect(gpu.bar(2).peek(0x10_0000, rest.length)).toEqual(rest);

    await blocks.store(1000, BLOCKS, 0n);
    const stored = new Uint8Array(pattern.length);
    driver.drive.media.read(1000 * NVME_BLOCK, stored, 0, stored.length);
    expect(stored).toEqual(pattern);
    await blocks.close();
  });

  test("a reset of the GPU takes the memory; afterwards commands work again", async () => {
    const { gpu, vfio, driver } = await stage(where);
    driver.drive.media.write(0, pattern, 0, pattern.length);
    const ranges = [{ offset: 0n, length: MIB }];
    const buffer = await vfio.exportDmaBuf({ bar: 2, ranges });
    const blocks = await BlockImport.open(driver, buffer, { offset: 0n, length: MIB });
    await blocks.load(0, 8, 0n);

    // Memory decode off, as before a firmware update: BARs answer nobody.
    await vfio.writeConfig(4, 2, 0);
    await expect(blocks.load(0, 8, 0n)).rejects.toMatchObject({ code: "ENODEV" });
    await vfio.writeConfig(4, 2, 6);
    await blocks.load(8, 8, 0n);
    expect(gpu.bar(2).peek(0, 4096)).toEqual(pattern.subarray(4096, 8192));
    await blocks.close();
  });
});

test("what does not fit the slice is refused, and nothing is written", async () => {
  const { machine, vfio, driver } = await stage("beside");
  const buffer = await vfio.exportDmaBuf({ bar: 2, ranges: [{ offset: 0n, length: 0x2000n }] });
  const blocks = await BlockImport.open(driver, buffer, { offset: 0x1000n, length: 0x1000n });
  machine.clean();
  await expect(blocks.load(0, 9, 0n)).rejects.toMatchObject({ code: "EINVAL" });
  await expect(blocks.load(0, 1, 512n)).rejects.toMatchObject({ code: "EINVAL" });
  expect(machine.dirty()).toEqual([]);
  await blocks.close();
  await expect(blocks.load(0, 8, 0n)).rejects.toMatchObject({ code: "EBADF" });
});
