import { MemoryEngine, PhysicalMemory } from "@peerbar/conformance/reference";
import { expect, test } from "vitest";
import { MyBackend } from "../src/backend.js";

test("a device behind it reaches memory at the IOVA it was given, and nowhere else", async () => {
  const memory = new PhysicalMemory();
  const range = memory.allocate(0x1000n);
  const backend = new MyBackend();
  const client = { name: "0000:02:00.0", isPci: true, dmaMask: 2n ** 64n - 1n, reserved: [] };
  const port = backend.connect(client);
  const engine = new MemoryEngine(memory, port);
  const address = port.dma.mapPhys(range, "bidirectional");
  expect(address).not.toBe(range.start);
  const done = await engine.write(address, Uint8Array.of(5));
  expect(done).toEqual({ status: "ok", transferred: 1, at: undefined });
  const byte = new Uint8Array(1);
  memory.read(range.start, byte);
  expect(byte).toEqual(Uint8Array.of(5));

  port.dma.unmapPhys(address, 0x1000n, "bidirectional");
  expect(await engine.write(address, Uint8Array.of(6))).toMatchObject({ status: "iommu-fault" });
  expect(backend.faults).toBe(1);
});
