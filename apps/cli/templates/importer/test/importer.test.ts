import { MemoryEngine, MemoryExporter, PhysicalMemory } from "@peerbar/conformance/reference";
import { physAddr } from "@peerbar/core";
import { expect, test } from "vitest";
import { MyImport } from "../src/importer.js";
import { deviceAt } from "./subject.js";

test("the device writes into the buffer; not while the memory is away, and again once it is back", async () => {
  const memory = new PhysicalMemory();
  const exporter = new MemoryExporter({ memory });
  const buffer = exporter.export(0x2000n);
  const slice = { offset: 0x1000n, length: 0x1000n };
  const imported = await MyImport.open(deviceAt(memory), buffer, slice);
  expect(await imported.write(0n, Uint8Array.of(1))).toBe(true);
  await exporter.revoke();
  expect(await imported.write(0n, Uint8Array.of(2))).toBe(false);
  await exporter.restore();
  expect(await imported.write(0n, Uint8Array.of(3))).toBe(true);
  await imported.close();
});

test("a write goes on where the next page of the buffer is, and ends with the slice", async () => {
  const memory = new PhysicalMemory();
  const { start } = memory.allocate(0x3000n);
  const pages = [start, physAddr(start + 0x2000n)].map((at) => ({ start: at, length: 0x1000n }));
  const buffer = new MemoryExporter({ memory }).exportRanges(pages);
  const { name, pciAddress, dmaMask } = deviceAt(memory);
  const device = { name, pciAddress, dmaMask, engine: new MemoryEngine(memory) };
  const slice = { offset: 0n, length: 0x2000n };
  const imported = await MyImport.open(device, buffer, slice);
  expect(await imported.write(0xfffn, Uint8Array.of(1, 2))).toBe(true);
  expect(await imported.write(0x1fffn, Uint8Array.of(3, 4))).toBe(false);
  const bytesAt = (offset: bigint) => {
    const found = new Uint8Array(1);
    memory.read(start + offset, found);
    return found[0];
  };
  expect([0xfffn, 0x1000n, 0x2000n, 0x2fffn].map(bytesAt)).toEqual([1, 0, 2, 0]);
  await imported.close();
});
