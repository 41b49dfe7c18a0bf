// Writes captures/*.json from the generator. Run `pnpm build:js` first: it reads the built package.
import { mkdirSync, writeFileSync } from "node:fs";
import { shippedCaptures, toCapture } from "../dist/index.js";

const folder = new URL("../captures/", import.meta.url);
mkdirSync(folder, { recursive: true });
for (const [name, make] of Object.entries(shippedCaptures)) {
  writeFileSync(new URL(name, folder), toCapture(make()));
  console.log(`captures/${name}`);
}
