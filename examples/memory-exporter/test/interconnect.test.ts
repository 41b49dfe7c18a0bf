import { physAddr } from "@peerbar/core";
import { expect, test } from "vitest";
import { Checksum } from "../src/checksum.js";
import { MemoryExporter } from "../src/exporter.js";

const memory = () => ({
  range: { start: physAddr(0x10_0000_0000n), length: 0x1000n },
  bytes: new Uint8Array(0x1000).fill(3),
});

test("an importer that knows the interconnect gets the bytes, live", async () => {
  const plain = memory();
  const { buffer } = new MemoryExporter(plain);
  const checksum = new Checksum(buffer);
  expect(await checksum.sum()).toBe(3 * 0x1000);
  plain.bytes[0] = 4;
  expect(await checksum.sum()).toBe(3 * 0x1000 + 1);
});

test("an importer that does not know it is told what there is", () => {
  const { buffer } = new MemoryExporter(memory());
  const device = { name: "a NIC", pciAddress: "0000:02:00.0", dmaMask: 2n ** 64n - 1n };
  const ops = { allowPeer2Peer: true, invalidateMappings: () => undefined };
  const attachment = buffer.attach(device, ops);
  expect(() => attachment.negotiate(["phys"])).toThrow(
    /EOPNOTSUPP.*accepts \[phys\].*offers \[example-bytes, sgt\]/,
  );
  expect(attachment.negotiate(["phys", "sgt"])).toBe("sgt");
});

test("after a revoke the bytes are out of reach, even for somebody who kept them; after a restore they are back", async () => {
  const exporter = new MemoryExporter(memory());
  const checksum = new Checksum(exporter.buffer);
  await checksum.sum();
  const attachment = exporter.buffer.attach(
    { name: "a hoarder", pciAddress: undefined, dmaMask: 2n ** 64n - 1n },
    { allowPeer2Peer: true, invalidateMappings: () => undefined },
  );
  const held = await exporter.buffer.reservation.lock();
  const kept = attachment.open("example-bytes", held);
  held.release();

  await exporter.revoke();
  await expect(checksum.sum()).rejects.toMatchObject({ code: "ENODEV" });
  expect(() => {
    kept.write(0, Uint8Array.of(9));
  }).toThrow("ENODEV");

  await exporter.restore();
  expect(await checksum.sum()).toBe(3 * 0x1000);
  expect(() => {
    kept.read(0, new Uint8Array(1));
  }).toThrow("ENODEV"); // opened before the revoke: dead for good
});
