import { hex, MAX_SEGMENT_BYTES, PAGE_SIZE } from "@peerbar/core";
import { describe, expect, it } from "vitest";
import type { BackendName } from "../src/backends.js";
import { type Imported, type ImporterName, importBuffer } from "../src/importers.js";
import type { Route, Server } from "../src/server.js";
import { isSame, makeStage, pattern, type Stage } from "./stage.js";

const MIB = 0x10_0000n;
const SEGMENT = BigInt(MAX_SEGMENT_BYTES);

/** Offsets around which two pages are touched: the start, the middle, the end and each place where one entry ends and the next begins. */
function touched(size: bigint): bigint[] {
  const page = BigInt(PAGE_SIZE);
  const boundaries: bigint[] = [];
  for (let at = SEGMENT; at < size; at += SEGMENT) boundaries.push(at - page);
  return [0n, size / 2n - page, size - 2n * page, ...boundaries];
}

async function touch(imported: Imported, server: Server, at: bigint, seed: number): Promise<void> {
  const out = pattern(2 * PAGE_SIZE, seed);
  expect(await imported.write(out, at)).toBe(true);
  expect(isSame(server.bar.peek(at, out.length), out)).toBe(true);
  const back = pattern(2 * PAGE_SIZE, seed + 100);
  server.bar.poke(at, back);
  const into = new Uint8Array(back.length);
  expect(await imported.read(into, at)).toBe(true);
  expect(isSame(into, back)).toBe(true);
}

function open({ exported, sanitizer, server }: Stage, name: ImporterName): Promise<Imported> {
  const device = sanitizer.device(server.nic);
  return importBuffer(name, exported.buffer, device, server.backend.iommu);
}

const ways: readonly (readonly [ImporterName, BackendName, Route])[] = [
  ["rdma, dynamic", "iommu-mock dma", "thru-host-bridge"],
  ["rdma, pinned-revocable", "iommu-mock dma-fq", "thru-host-bridge"],
  ["rdma, dynamic", "iommu-mock passthrough", "bus-addr"],
  ["iommufd", "iommu-mock dma", "thru-host-bridge"],
  ["iommufd", "iommu-mock passthrough", "bus-addr"],
];

describe.each([2n * MIB, 1024n * MIB, 16384n * MIB])("a BAR of %i bytes", (length) => {
  it.each(ways)(
    "%s / %s / %s: first, middle and last pages, and both sides of every entry boundary",
    async (importer, backend, route) => {
      const stage = await makeStage({ backend, route, barLength: length }, [
        { offset: 0n, length },
      ]);
      const { server, exported } = stage;
      const imported = await open(stage, importer);
      if (importer !== "iommufd") {
        const entries = Number((length + SEGMENT - 1n) / SEGMENT);
        expect(stage.maps.at(-1)).toMatchObject({ entries, size: length });
      }
      server.machine.clean();
      const places = touched(length);
      for (const [i, at] of places.entries()) await touch(imported, server, at, i);
      expect(exported.written()).toEqual({ inside: 2 * places.length, outside: [] });
      await exported.revoke();
      for (const at of places)
        expect(`${hex(at)}: ${String(await imported.write(pattern(64, 1), at))}`).toBe(
          `${hex(at)}: false`,
        );
      expect(exported.written()).toEqual({ inside: 0, outside: [] });
      await imported.close();
      await stage.end();
    },
  );
});

describe("several ranges of a BAR", () => {
  const ranges = [
    { offset: 0x50_0000n, length: 0x3_1000n },
    { offset: 0x1000n, length: 0x1000n },
    { offset: 0x20_0000n, length: 0x10_0000n },
    { offset: 0x5_0000n, length: 0xf000n },
  ];
  const setup = { barLength: 16n * MIB };

  it.each([
    ["iommu-mock dma", "thru-host-bridge", "mapping", "iova", 1],
    ["iommu-mock dma-fq", "thru-host-bridge", "attachment", "iova", 1],
    ["iommu-mock dma", "bus-addr", "mapping", "bus", 4],
    ["iommu-mock passthrough", "thru-host-bridge", "mapping", "bus", 4],
  ] as const)(
    "%s / %s / %s: the %s addresses are %i entries, and a transfer crosses every seam",
    async (backend, route, strategy, space, entries) => {
      const stage = await makeStage({ ...setup, backend, route }, ranges, strategy);
      const { exported, server } = stage;
      const imported = await open(stage, "rdma, dynamic");
      expect(stage.maps.at(-1)).toMatchObject({ space, entries });
      const size = Number(exported.buffer.size);
      server.machine.clean();
      const out = pattern(size - 0x30, 9);
      expect(await imported.write(out, 0x10n)).toBe(true);
      expect(isSame(exported.peek().subarray(0x10, size - 0x20), out)).toBe(true);
      expect(exported.written()).toEqual({ inside: size / PAGE_SIZE, outside: [] });
      const back = pattern(size, 77);
      exported.poke(back);
      const into = new Uint8Array(size);
      expect(await imported.read(into)).toBe(true);
      expect(isSame(into, back)).toBe(true);
      await imported.close();
      await stage.end();
    },
  );
});
