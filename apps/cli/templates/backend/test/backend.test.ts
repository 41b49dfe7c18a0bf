import { MemoryEngine, PhysicalMemory } from "@peerbar/conformance/reference";
import { expect, test } from "vitest";
import { MyBackend } from "../src/backend.js";

test("a device behind it reaches memory at the address that the DMA API gave", async () => {
  const memory = new PhysicalMemory();
  const range = memory.allocate(0x1000n);
  const client = { name: "0000:02:00.0", isPci: true, dmaMask: 2n ** 64n - 1n, reserved: [] };
  const port = new MyBackend().connect(client);
  const address = port.dma.mapPhys(range, "bidirectional");
  const done = await new MemoryEngine(memory, port).write(address, Uint8Array.of(5));
  expect(done).toEqual({ status: "ok", transferred: 1, at: undefined });
});
