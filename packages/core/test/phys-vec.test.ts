import { describe, expect, it } from "vitest";
import {
  busAddr,
  DmaBufError,
  type DmaDevice,
  type DmaMapper,
  iova,
  linkPhysVec,
  mapPhysVec,
  type PhysRange,
  physAddr,
  ScatterTable,
  unmapPhysVec,
} from "../src/index.js";
import { errorOf } from "./fixtures/expect-error.js";

const range = (start: bigint, length: bigint): PhysRange => ({ start: physAddr(start), length });

/** A mapper that writes calls down; `translating` gives IOVAs, `failAt` fails the n-th link, map or sync. */
function mapper(options: { translating: boolean; failAt?: number }): {
  device: DmaDevice;
  log: string[];
} {
  const log: string[] = [];
  let calls = 0;
  const step = (what: string): void => {
    calls += 1;
    if (calls === options.failAt) throw new DmaBufError("ENOMEM", what, "told to fail");
    log.push(what);
  };
  const dma: DmaMapper = {
    space: options.translating ? "iova" : "bus",
    tryAllocIova(size) {
      log.push(`alloc ${String(size)}`);
      return options.translating ? { address: iova(0x10_0000n), size } : undefined;
    },
    link: (_state, offset, { length }) => {
      step(`link ${String(offset)}+${String(length)}`);
    },
    sync: (_state, offset, length) => {
      step(`sync ${String(offset)}+${String(length)}`);
    },
    unlink: (_state, offset, length) => log.push(`unlink ${String(offset)}+${String(length)}`),
    free: () => log.push("free"),
    destroy: (_state, mapped) => log.push(`destroy ${String(mapped)}`),
    mapPhys: ({ start }) => {
      step(`map ${String(start)}`);
      return busAddr(start);
    },
    unmapPhys: (address, length) => log.push(`unmap ${String(address)}+${String(length)}`),
  };
  return { device: { name: "nic", pciAddress: undefined, dmaMask: (1n << 64n) - 1n, dma }, log };
}

const two = [range(0x4000n, 0x2000n), range(0xa000n, 0x1000n)];

describe("physical ranges to a DMA list", () => {
  it("go by bus address where the route is switch-local, and need nothing undone", () => {
    const { device, log } = mapper({ translating: true });
    const table = mapPhysVec(device, { kind: "bus", busOffset: -0x1000n }, two, "bidirectional");
    expect([...table].map(({ address, length }) => [address, length])).toEqual([
      [0x3000n, 0x2000],
      [0x9000n, 0x1000],
    ]);
    unmapPhysVec(table);
    expect([table.via, table.space, log]).toEqual(["bus", "bus", []]);
  });

  it("say which way they go and whose addresses they are, and end once (dma-buf R25)", () => {
    const ways = [true, false].map((translating) => {
      const { device } = mapper({ translating });
      const table = mapPhysVec(device, { kind: "host-bridge" }, two, "bidirectional");
      unmapPhysVec(table);
      let again: unknown;
      try {
        unmapPhysVec(table);
      } catch (error) {
        again = error;
      }
      expect(again).toMatchObject({
        code: "ERR_PROTOCOL",
        syscall: "dmabuf.unmap",
        rule: "dma-buf R25",
      });
      return [table.via, table.space];
    });
    expect(ways).toEqual([
      ["host-bridge-iova", "iova"],
      ["host-bridge-dma", "bus"],
    ]);
    // A table of another maker has nothing to undo, however often.
    const plain = ScatterTable.fromSpans("bus", [{ pfn: 1, pages: 1 }]);
    unmapPhysVec(plain);
    unmapPhysVec(plain);
  });

  it("link at the running offset into one span, destroyed as a whole", () => {
    const { device, log } = mapper({ translating: true });
    const table = mapPhysVec(device, { kind: "host-bridge" }, two, "bidirectional");
    expect([...table]).toEqual([{ address: 0x10_0000n, length: 0x3000 }]);
    unmapPhysVec(table);
    expect(log).toEqual([
      "alloc 12288",
      "link 0+8192",
      "link 8192+4096",
      "sync 0+12288",
      "destroy 12288",
    ]);
  });

  it("give back exactly what was taken, wherever it fails", () => {
    const logAfter = (translating: boolean, failAt: number): string[] => {
      const { device, log } = mapper({ translating, failAt });
      expect(
        errorOf(() => mapPhysVec(device, { kind: "host-bridge" }, two, "to-device"))?.code,
      ).toBe("ENOMEM");
      return log.slice(1);
    };
    expect(logAfter(true, 1)).toEqual(["free"]);
    expect(logAfter(true, 2)).toEqual(["link 0+8192", "unlink 0+8192", "free"]);
    expect(logAfter(true, 3)).toEqual(["link 0+8192", "link 8192+4096", "unlink 0+12288", "free"]);
    expect(logAfter(false, 1)).toEqual([]);
    expect(logAfter(false, 2)).toEqual(["map 16384", "unmap 16384+8192"]);
  });

  it("into a reservation of the caller's: a failure unlinks and leaves it, unmap runs what the caller gave", () => {
    const link = (failAt?: number): { log: string[]; run: () => void } => {
      const { device, log } = mapper({ translating: true, ...(failAt && { failAt }) });
      const { dma } = device;
      const state = dma?.tryAllocIova(0x3000n);
      if (dma === undefined || state === undefined) throw new Error("the mapper translates");
      const undo = (): void => {
        dma.unlink(state, 0n, state.size);
      };
      return { log, run: () => unmapPhysVec(linkPhysVec(dma, state, two, "to-device", undo)) };
    };
    const good = link();
    good.run();
    expect(good.log.slice(1)).toEqual([
      "link 0+8192",
      "link 8192+4096",
      "sync 0+12288",
      "unlink 0+12288",
    ]);
    const bad = link(2);
    expect(errorOf(bad.run)?.code).toBe("ENOMEM");
    expect(bad.log.slice(1)).toEqual(["link 0+8192", "unlink 0+8192"]);
  });

  it("take whole pages only, and ask nobody for anything else (dma-buf R23)", () => {
    const { device, log } = mapper({ translating: true });
    const wrong = [
      [],
      [range(0n, 0n)],
      [range(1n, 4096n)],
      [range(0n, 4097n)],
      [range(0n, -4096n)],
    ];
    for (const ranges of wrong) {
      for (const route of [{ kind: "host-bridge" }, { kind: "bus", busOffset: 0n }] as const) {
        expect(errorOf(() => mapPhysVec(device, route, ranges, "to-device"))?.code).toBe("EINVAL");
      }
    }
    expect(log).toEqual([]);
  });

  it("are undone once (dma-buf R25)", () => {
    const { device, log } = mapper({ translating: false });
    const table = mapPhysVec(device, { kind: "host-bridge" }, two, "to-device");
    unmapPhysVec(table);
    expect(errorOf(() => unmapPhysVec(table))?.rule).toBe("dma-buf R25");
    expect(log.filter((line) => line.startsWith("unmap")).length).toBe(2);
  });

  it("need a device that can map", () => {
    const blind: DmaDevice = { name: "iommufd", pciAddress: undefined, dmaMask: 0n };
    expect(errorOf(() => mapPhysVec(blind, { kind: "host-bridge" }, two, "to-device"))?.code).toBe(
      "EOPNOTSUPP",
    );
  });
});
