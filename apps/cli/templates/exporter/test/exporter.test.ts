import { PhysicalMemory, SimpleImporter } from "@peerbar/conformance/reference";
import { expect, test } from "vitest";
import { MyBuffer } from "../src/exporter.js";
import { deviceAt } from "./subject.js";

test("an importer writes into the memory, until it is taken back", async () => {
  const memory = new PhysicalMemory();
  const range = memory.allocate(0x2000n);
  const ops = new MyBuffer([range]);
  const importer = new SimpleImporter(deviceAt(memory));
  const imported = await importer.import(ops.buffer, { offset: 0x1000n, length: 0x1000n });
  expect(await imported.write(0n, Uint8Array.of(7))).toBe(true);
  const found = new Uint8Array(1);
  memory.read(range.start + 0x1000n, found);
  expect(found[0]).toBe(7);
  await ops.revoke();
  expect(await imported.write(0n, Uint8Array.of(8))).toBe(false);
  await imported.close();
});

test("two revokes at once: both end, and neither while something is mapped", async () => {
  const memory = new PhysicalMemory();
  const ops = new MyBuffer([memory.allocate(0x1000n)]);
  const { reservation } = ops.buffer;
  const slow = { allowPeer2Peer: true, invalidateMappings: () => undefined };
  const attachment = ops.buffer.attach(deviceAt(memory), slow);
  let held = await reservation.lock();
  const table = attachment.map("bidirectional", held);
  held.release();
  let mapped = true;
  const ends = [ops.revoke(), ops.revoke()].map(async (revoked) => {
    await revoked;
    return mapped;
  });
  await new Promise((resolve) => setTimeout(resolve));
  held = await reservation.lock();
  attachment.unmap(table, "bidirectional", held);
  mapped = false;
  held.release();
  expect(await Promise.all(ends)).toEqual([false, false]);
  attachment.detach();
});
