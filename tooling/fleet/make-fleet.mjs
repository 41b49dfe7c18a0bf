// Writes captures of a fleet that does not exist: node tooling/fleet/make-fleet.mjs DIRECTORY COUNT [CAPTURE...]
// Each is one of the machines given (the shipped captures by default) with another name; one in ten has drifted. Needs a build.
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseTopology, toCapture } from "../../packages/p2pdma/dist/index.js";
import { readTopology } from "../../packages/p2pdma/dist/node.js";

const [directory, countText, ...given] = process.argv.slice(2);
const count = Number(countText);
if (directory === undefined || !Number.isInteger(count) || count < 1) {
  console.error("usage: node tooling/fleet/make-fleet.mjs DIRECTORY COUNT [CAPTURE...]");
  process.exit(2);
}

const shipped = fileURLToPath(new URL("../../packages/p2pdma/captures/", import.meta.url));
// The lab's captures have the kernel's distances beside them, which are no captures.
const captures = readdirSync(shipped).filter((name) => !name.endsWith(".distances.json"));
const files = given.length > 0 ? given : captures.map((name) => join(shipped, name));
const bases = [];
for (const file of files) bases.push(JSON.parse(toCapture(await readTopology(file))));

/** mulberry32, as in the generator of p2pdma: the same fleet everywhere. */
let state = 1;
const random = () => {
  state = (state + 0x6d2b79f5) >>> 0;
  let t = Math.imul(state ^ (state >>> 15), state | 1);
  t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
};
const pick = (list) => list[Math.floor(random() * list.length)];

/** Ways in which nodes of real fleets come to differ. */
const drifts = [
  (functions) => {
    const fn = pick(functions.filter(({ acs }) => typeof acs === "object" && "control" in acs));
    if (fn !== undefined)
      fn.acs = { ...fn.acs, control: fn.acs.control === "0x0000" ? "0x001d" : "0x0000" };
  },
  (functions) => {
    const fn = pick(functions.filter(({ link }) => link?.[1] > 1));
    if (fn !== undefined) fn.link = [fn.link[0], fn.link[1] / 2, fn.link[2], fn.link[3]];
  },
  (functions) => {
    const fn = pick(functions.filter(({ headerType }) => headerType === 0));
    if (fn !== undefined) fn.driver = "vfio-pci";
  },
  (functions) => {
    // A card that fell off: no function is below an endpoint but its own VFs.
    const at = functions.findIndex(
      ({ headerType, physfn }) => headerType === 0 && physfn === undefined && random() < 0.1,
    );
    if (at < 0 || functions.length < 8) return;
    const { address } = functions[at];
    for (let i = functions.length - 1; i >= 0; i -= 1) {
      if (i === at || functions[i].physfn === address) functions.splice(i, 1);
    }
  },
];

for (let i = 0; i < count; i += 1) {
  const base = bases[i % bases.length];
  const name = `node-${String(i).padStart(7, "0")}`;
  const capture = structuredClone({ ...base, source: { ...base.source, name } });
  // Group numbers and bus addresses of the same machine stay; what changes by itself is varied.
  for (const fn of capture.functions)
    if (fn.link && random() < 0.2) fn.link = [2.5, ...fn.link.slice(1)];
  if (random() < 0.1) pick(drifts)(capture.functions);
  const folder = join(directory, `rack-${String(Math.floor(i / 100)).padStart(4, "0")}`);
  mkdirSync(folder, { recursive: true });
  writeFileSync(
    join(folder, `${name}.json`),
    toCapture(parseTopology(JSON.stringify(capture), { name })),
  );
}
console.log(`${count} captures of ${bases.length} kinds of machines in ${directory}`);
