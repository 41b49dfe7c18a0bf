import { appendFileSync } from "node:fs";
import { NativeHost } from "../src/index.js";

/** A program of its own: takes the devices it is told, exports a BAR, says so, and then does what its last word says. */
async function main(words: readonly string[]): Promise<void> {
  const [address = "", said = "", how = ""] = words;
  const host = new NativeHost();
  const recovered = host.recovered.map(({ what, outcome }) => `${what} ${outcome}`).join(", ");
  const device = await host.open(address);
  await device.setMemory(true);
  const buffer = await device.exportDmaBuf({ bar: 2, ranges: [{ offset: 0n, length: 0x1000n }] });
  const window = device.mapBar(2, { offset: 0n, length: 0x1000n });
  appendFileSync(said, `holds ${String(buffer.size)} ${String(window.length)} [${recovered}]\n`);
  if (how === "throw") throw new Error("on purpose");
  if (how === "exit") process.exit(7);
  // Until a signal.
  setInterval(() => undefined, 1000);
}

await main(process.argv.slice(2));
