import { memoryCases } from "./cases.js";

/** Runs one memory case in a process of its own, started with --expose-gc, and prints heap and external bytes for one thing. */
const [id = "", wanted] = process.argv.slice(2);
const found = memoryCases[id];
const { gc } = globalThis;
if (found === undefined || gc === undefined) {
  process.stderr.write("usage: node --expose-gc child.js ID [COUNT]\n");
  process.exit(2);
}
const { from, to, count, keep } = await found(
  () => {
    for (let i = 0; i < 4; i++) gc();
    return process.memoryUsage();
  },
  wanted === undefined ? undefined : Number(wanted),
);
const heap = (to.heapUsed - from.heapUsed) / count;
const external = (to.external - from.external) / count;
// What was measured is alive until here.
const bytes = keep === undefined ? Number.NaN : heap + external;
process.stdout.write(JSON.stringify({ bytes, heap, external, count }));
