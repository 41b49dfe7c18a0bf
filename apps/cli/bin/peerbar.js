#!/usr/bin/env node
import { existsSync } from "node:fs";
import module from "node:module";

const main = new URL("../dist/main.js", import.meta.url);
if (existsSync(main)) {
  // Node 22 keeps compiled code between runs; older ones start without.
  module.enableCompileCache?.();
  const { run, processIo } = await import(main.href);
  process.exitCode = await run(process.argv.slice(2), processIo());
} else {
  process.stderr.write(
    "peerbar: ENOENT: the tool is not built yet: run `npx --yes pnpm@10.34.9 build`, or `npx --yes pnpm@10.34.9 peerbar ...`, which builds what is stale\n",
  );
  process.exitCode = 2;
}
