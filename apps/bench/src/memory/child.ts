import { memoryCases } from "./cases.js";

/** Runs one memory case in a process of its own, started with --expose-gc, and prints heap and external bytes for one thing. */
const found = memoryCases[process.argv[2] ?? ""];
const { gc } = globalThis;
if (found === undefined || gc === undefined) {
  process.stderr.write("usage: node --expose-gc child.js ID\n");
  process.exit(2);
}
const make = found.setup();
const before = settled();
const kept = make();
const after = settled();
const each = (bytes: number): number => bytes / found.count;
process.stdout.write(
  JSON.stringify({
    heap: each(after.heapUsed - before.heapUsed),
    external: each(after.external - before.external),
    count: found.count,
    // Alive until here.
    kept: typeof kept,
  }),
);

function settled(): NodeJS.MemoryUsage {
  for (let i = 0; i < 4; i++) gc?.();
  return process.memoryUsage();
}
