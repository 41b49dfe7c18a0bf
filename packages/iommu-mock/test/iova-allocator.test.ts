import { describe, expect, it } from "vitest";
import { IovaAllocator } from "../src/index.js";

const LIMIT32 = 0xfffff;
const kib = (n: number): number => n / 4;
const address = (granule: number): string => `0x${(granule * 4096).toString(16)}`;

describe("the reference model of dma-iova section 6", () => {
  it("gives exactly those addresses, top-down, aligned and last in first out (dma-iova R15, R16, R17, R20)", () => {
    const iovas = new IovaAllocator();
    const alloc = (granules: number): string => address(iovas.alloc(granules, LIMIT32, true));
    expect(alloc(kib(4))).toBe("0xfffff000");
    expect(alloc(kib(4))).toBe("0xffffe000");
    expect(alloc(kib(8))).toBe("0xffffc000");
    expect(alloc(kib(20))).toBe("0xffff0000");
    iovas.free(0xfffff, 1);
    expect(alloc(kib(4))).toBe("0xfffff000");
    expect(alloc(kib(256))).toBe("0xfff80000");
  });
});
