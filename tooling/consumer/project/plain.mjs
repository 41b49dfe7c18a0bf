// Plain JavaScript, no types: every entry of every package that is installed here can be imported, and does what its name says.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

const scope = join(import.meta.dirname, "node_modules/@peerbar");
let entries = 0;
for (const room of readdirSync(scope)) {
  const manifest = JSON.parse(readFileSync(join(scope, room, "package.json"), "utf8"));
  for (const entry of Object.keys(manifest.exports)) {
    if (entry.endsWith(".json") || entry.includes("*")) continue;
    if (manifest.exports[entry]["@peerbar/source"] !== undefined) {
      throw new Error(`${room}: ${entry} shows the sources' export condition`);
    }
    const name = `@peerbar/${room}${entry.slice(1)}`;
    // Brings in a test runner, which this project does not have to have.
    if (name === "@peerbar/conformance/vitest") continue;
    const module = await import(name);
    if (Object.keys(module).length === 0) throw new Error(`${name} exports nothing`);
    entries += 1;
  }
}

const { DmaBufError, isDmaBufError, DmaBuf } = await import("@peerbar/core");
try {
  DmaBuf.export({ size: 5n, ops: { name: "odd", offers: () => [], release() {} } });
  throw new Error("a buffer of 5 bytes was exported");
} catch (error) {
  if (!isDmaBufError(error) || !(error instanceof DmaBufError) || error.code !== "EINVAL")
    throw error;
}
console.log(`${entries} entries`);
