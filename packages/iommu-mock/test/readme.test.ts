import { physAddr } from "@peerbar/core";
import { expect, it } from "vitest";
import { MockIommu } from "../src/index.js";

it("the README's example does what its comments say", () => {
  const iommu = new MockIommu({ mode: "dma", format: "x86-64" });
  const port = iommu.connect({
    name: "0000:19:00.0",
    isPci: true,
    dmaMask: (1n << 64n) - 1n,
    reserved: [],
  });
  const bar = { start: physAddr(0x3800_0000_0000n), length: 0x20_0000n };
  const address = port.dma.mapPhys(bar, "bidirectional");
  expect(address).toBe(0xffe0_0000n);
  const out = { pfn: 0 };
  expect(port.translate(Number(address >> 12n), 512, true, out)).toBe(512);
  expect(out.pfn).toBe(0x3_8000_0000);
  port.dma.unmapPhys(address, bar.length, "bidirectional");
  expect(port.translate(Number(address >> 12n), 1, true, out)).toBe(0);
  expect([...iommu.faults]).toEqual([
    { device: "0000:19:00.0", iova: 0xffe0_0000n, access: "w", reason: "not-present" },
  ]);
});
