import { iova, physAddr } from "@peerbar/core";
import { MockIommu } from "@peerbar/iommu-mock";
import { expect, test } from "vitest";
import { LoggingBackend } from "../src/logging-backend.js";

const client = { name: "0000:02:00.0", isPci: true, dmaMask: 2n ** 64n - 1n, reserved: [] };
const range = { start: physAddr(0x10_0000_0000n), length: 0x1000n };

test("tells who asked for what, and what they got", () => {
  const lines: string[] = [];
  const iommu = new LoggingBackend(new MockIommu({ mode: "dma" }), (line) => lines.push(line));
  const { dma } = iommu.connect(client);
  const address = dma.mapPhys(range, "bidirectional");
  dma.unmapPhys(address, range.length, "bidirectional");
  expect(lines).toEqual([
    "0000:02:00.0: connect = 0000:02:00.0",
    "0000:02:00.0: mapPhys(0x1000000000+0x1000, bidirectional) = 0xfffff000",
    "0000:02:00.0: unmapPhys(0xfffff000, 0x1000, bidirectional)",
  ]);
});

test("tells the errno of what failed, and lets it through", () => {
  const lines: string[] = [];
  const iommu = new LoggingBackend(new MockIommu({ mode: "dma" }), (line) => lines.push(line));
  const space = iommu.allocAddressSpace();
  const slice = { offset: 0n, length: 0x1000n };
  space.map("phys", [range], { slice, iova: iova(0x10_0000n), access: "rw" });
  expect(() => space.map("phys", [range], { slice, iova: iova(0x10_0000n), access: "rw" })).toThrow(
    "EEXIST",
  );
  expect(lines.at(-1)).toMatch(/^address space \d+: map\(phys, .*at 0x100000\) failed: EEXIST$/);
});
