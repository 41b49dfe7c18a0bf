import { type DmaDirection, MicrotaskScheduler } from "@peerbar/core";
import { describe, expect, it } from "vitest";
import { type P2pMapType, VfioPci, type VfioPciDevice } from "../src/index.js";
import { FakeFunction, GIB, memoryBar } from "./fixtures/fake-function.js";
import { fakeDevice } from "./fixtures/fake-importer.js";
import { FakeMapper } from "./fixtures/fake-mapper.js";

const NIC = "0000:3c:00.0";
const direction: DmaDirection = "bidirectional";

async function open(answer: P2pMapType = "bus-addr"): Promise<VfioPciDevice> {
  const scheduler = new MicrotaskScheduler();
  const vfio = new VfioPci({ p2pdma: { mapType: () => answer }, scheduler });
  return vfio.open(new FakeFunction({ bars: [memoryBar(0, 0x100_0000_0000n, 64n * GIB)] }));
}

// Steps are counted here; apps/bench has the times.
describe("work grows with what there is to do", () => {
  it.each([1000, 10_000])("map of %i ranges asks the mapper once a range", async (count) => {
    const device = await open("thru-host-bridge");
    const ranges = Array.from({ length: count }, (_, i) => ({
      offset: BigInt(i) * 0x2000n,
      length: 0x1000n,
    }));
    const buffer = await device.exportDmaBuf({ bar: 0, ranges });
    const mapper = new FakeMapper("bus");
    const attachment = buffer.attach(fakeDevice(NIC, mapper), {
      allowPeer2Peer: true,
      invalidateMappings: () => undefined,
    });
    const held = buffer.reservation.lockNow();
    attachment.unmap(attachment.map(direction, held), direction, held);
    held.release();
    expect(mapper.calls).toBe(count);
  });

  it.each([100, 1000])("revoke with %i importers tells each once", async (count) => {
    const device = await open();
    const buffer = await device.exportDmaBuf({ bar: 0, ranges: [{ offset: 0n, length: 0x1000n }] });
    let told = 0;
    for (let i = 0; i < count; i++) {
      buffer.attach(fakeDevice(`0000:${(i % 250).toString(16)}:00.0`), {
        allowPeer2Peer: true,
        invalidateMappings: () => {
          told += 1;
        },
      });
    }
    await device.writeConfig(4, 2, 0);
    expect(told).toBe(count);
    await device.writeConfig(4, 2, 2);
    expect(told).toBe(2 * count);
  });
});
