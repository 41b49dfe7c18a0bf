#!/usr/bin/env node
import { existsSync } from "node:fs";
import module from "node:module";
import { setFlagsFromString } from "node:v8";

const main = new URL("../dist/main.js", import.meta.url);
if (existsSync(main)) {
  // Node 22 keeps compiled code between runs; older ones start without.
  module.enableCompileCache?.();
  // Most commands end before optimised code pays: compile it later. An engine without the flag would complain, so only where it is known.
  const [major] = process.versions.node.split(".").map(Number);
  if (major <= 26) setFlagsFromString("--interrupt-budget=1000000");
  const { run, processIo } = await import(main.href);
  process.exitCode = await run(process.argv.slice(2), processIo());
} else {
  process.stderr.write(
    "peerbar: ENOENT: the tool is not built yet: run `npx --yes pnpm@10.34.9 build`, or `npx --yes pnpm@10.34.9 peerbar ...`, which builds what is stale\n",
  );
  process.exitCode = 2;
}
