import { MemoryExporter, PhysicalMemory } from "@peerbar/conformance/reference";
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
