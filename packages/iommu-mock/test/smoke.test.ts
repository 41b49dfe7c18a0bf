import { iova, mapPhysVec, physAddr, unmapPhysVec } from "@peerbar/core";
import { expect, it } from "vitest";
import { MockIommu } from "../src/index.js";

const client = {
  name: "0000:01:00.0",
  isPci: true,
  dmaMask: (1n << 64n) - 1n,
  reserved: [{ first: iova(0xfee00000n), last: iova(0xfeefffffn), kind: "msi" as const }],
};
it("goes end to end", () => {
  const iommu = new MockIommu();
  const port = iommu.connect(client);
  const device = {
    name: client.name,
    pciAddress: client.name,
    dmaMask: client.dmaMask,
    dma: port.dma,
  };
  const before = iommu.usage;
  const t = mapPhysVec(
    device,
    { kind: "host-bridge" },
    [
      { start: physAddr(0x10_0000_0000n), length: 0x4000n },
      { start: physAddr(0x20_0000_0000n), length: 0x20_0000n },
    ],
    "bidirectional",
  );
  expect(t.space).toBe("iova");
  const out = { pfn: 0 };
  const first = t.pfns[0] ?? 0;
  expect(port.translate(first, 100, true, out)).toBe(4);
  expect(out.pfn).toBe(0x1000000);
  expect(port.translate(first + 4, 1000, true, out)).toBe(512);
  expect(out.pfn).toBe(0x2000000);
  unmapPhysVec(t);
  expect(port.translate(first, 100, true, out)).toBe(0);
  expect([...iommu.faults]).toEqual([
    { device: client.name, iova: BigInt(first) * 4096n, access: "w", reason: "not-present" },
  ]);
  expect(iommu.usage).toEqual({ ...before, tablePages: 1 });
  const space = iommu.allocAddressSpace();
  space.attach(device);
  expect(space.ranges.map((r) => [r.first, r.last])).toEqual([
    [0n, 0xfedfffffn],
    [0xfef00000n, (1n << 48n) - 1n],
  ]);
  const m = space.map("phys", [{ start: physAddr(0x20_0000_0000n), length: 0x20_0000n }], {
    slice: { offset: 0n, length: 0x20_0000n },
    access: "rw",
  });
  expect(m.iova).toBe(0x200000n);
  expect(port.translate(0x200, 1000, true, out)).toBe(512);
  m.revoke();
  expect(port.translate(0x200, 1000, true, out)).toBe(0);
  expect(space.unmap(m.iova, m.length)).toBe(0x200000n);
  space.detach(device);
});
