import { type DmaDirection, MicrotaskScheduler } from "@peerbar/core";
import { describe, expect, it } from "vitest";
import { type P2pMapType, VfioPci, type VfioPciDevice } from "../src/index.js";
import { FakeFunction, GIB, memoryBar } from "./fixtures/fake-function.js";
import { fakeDevice, revocable } from "./fixtures/fake-importer.js";
import { FakeMapper } from "./fixtures/fake-mapper.js";

const NIC = "0000:3c:00.0";
const direction: DmaDirection = "bidirectional";

async function open(answer: P2pMapType = "bus-addr"): Promise<VfioPciDevice> {
  const scheduler = new MicrotaskScheduler();
  const vfio = new VfioPci({ p2pdma: { mapType: () => answer }, scheduler });
  return vfio.open(new FakeFunction({ bars: [memoryBar(0, 0x100_0000_0000n, 64n * GIB)] }));
}

/** Nanoseconds of the fastest of several rounds: load on the machine only ever adds. */
async function fastest(rounds: number, work: () => void | Promise<void>): Promise<number> {
  let best = Number.POSITIVE_INFINITY;
  for (let i = 0; i < rounds; i++) {
    const start = process.hrtime.bigint();
    await work();
    best = Math.min(best, Number(process.hrtime.bigint() - start));
  }
  return best;
}

describe("cost", () => {
  it("export, attach, map, unmap, detach, release: at most 120 times a Map.set and delete", async () => {
    const device = await open();
    const nic = fakeDevice(NIC);
    const request = { bar: 0, ranges: [{ offset: 0n, length: 0x20_0000n }] };
    const cycles = 2000;
    const cycle = await fastest(12, async () => {
      for (let i = 0; i < cycles; i++) {
        const buffer = await device.exportDmaBuf(request);
        const attachment = buffer.attach(nic, revocable);
        const held = buffer.reservation.lockNow();
        attachment.unmap(attachment.map(direction, held), direction, held);
        held.release();
        attachment.detach();
        buffer.close();
      }
      await Promise.resolve();
    });
    const map = new Map<object, number>();
    const keys = Array.from({ length: 1000 }, () => ({}));
    const pairs = 200_000;
    const pair = await fastest(12, () => {
      for (let i = 0; i < pairs; i++) {
        const key = keys[i % 1000] ?? map;
        map.set(key, i);
        map.delete(key);
      }
    });
    const ratio = cycle / cycles / (pair / pairs);
    process.stdout.write(
      `one-range cycle ${(cycle / cycles).toFixed(0)} ns, ${ratio.toFixed(0)} times a Map.set+delete\n`,
    );
    expect(device.buffers).toBe(0);
    expect(ratio).toBeLessThan(120);
  });

  it("map of 10,000 ranges is linear: as many links as ranges, and about ten times 1,000", async () => {
    const device = await open("thru-host-bridge");
    const time = async (count: number): Promise<{ ns: number; links: number }> => {
      const ranges = Array.from({ length: count }, (_, i) => ({
        offset: BigInt(i) * 0x2000n,
        length: 0x1000n,
      }));
      const buffer = await device.exportDmaBuf({ bar: 0, ranges });
      const mapper = new FakeMapper("bus");
      const attachment = buffer.attach(fakeDevice(NIC, mapper), revocable);
      const ns = await fastest(5, () => {
        const held = buffer.reservation.lockNow();
        attachment.unmap(attachment.map(direction, held), direction, held);
        held.release();
      });
      attachment.detach();
      buffer.close();
      return { ns, links: mapper.calls / 5 };
    };
    const [small, large] = [await time(1000), await time(10_000)];
    process.stdout.write(
      `map+unmap: 1,000 ranges ${(small.ns / 1e6).toFixed(2)} ms, 10,000 ranges ${(large.ns / 1e6).toFixed(2)} ms\n`,
    );
    expect([small.links, large.links]).toEqual([1000, 10_000]);
    expect(large.ns / small.ns).toBeLessThan(40);
  });

  it("revoke with 1,000 importers is linear: each is told once", async () => {
    const device = await open();
    const time = async (count: number): Promise<number> => {
      const buffer = await device.exportDmaBuf({
        bar: 0,
        ranges: [{ offset: 0n, length: 0x1000n }],
      });
      let told = 0;
      const importers = Array.from({ length: count }, (_, i) =>
        buffer.attach(fakeDevice(`0000:${(i % 250).toString(16)}:00.0`), {
          allowPeer2Peer: true,
          invalidateMappings: (attachment, held) => {
            told += 1;
            const table = tables[i];
            if (table !== undefined) attachment.unmap(table, direction, held);
            tables[i] = undefined;
          },
        }),
      );
      const tables = importers.map((): ReturnType<typeof attachMap> | undefined => undefined);
      const attachMap = (i: number): ReturnType<(typeof importers)[0]["map"]> | undefined => {
        using held = buffer.reservation.lockNow();
        return importers[i]?.map(direction, held);
      };
      const rounds = 5;
      let best = Number.POSITIVE_INFINITY;
      for (let round = 0; round < rounds; round++) {
        for (let i = 0; i < count; i++) tables[i] = attachMap(i);
        best = Math.min(best, await fastest(1, () => device.writeConfig(4, 2, 0)));
        await device.writeConfig(4, 2, 2);
      }
      expect(told).toBe(2 * rounds * count);
      for (const attachment of importers) attachment.detach();
      buffer.close();
      return best;
    };
    const [small, large] = [await time(100), await time(1000)];
    process.stdout.write(
      `revoke: 100 importers ${(small / 1e3).toFixed(0)} us, 1,000 importers ${(large / 1e3).toFixed(0)} us\n`,
    );
    expect(large / small).toBeLessThan(40);
  });
});
