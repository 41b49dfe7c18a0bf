#!/usr/bin/env node
import { existsSync } from "node:fs";
import module from "node:module";
import { setFlagsFromString } from "node:v8";

const main = new URL("../dist/main.js", import.meta.url);
if (existsSync(main)) {
  // Most commands end before optimised code pays. Node 22 and later keep compiled code between runs; 20 can at least optimise later
  // (later engines do not know the flag, and would complain).
  module.enableCompileCache?.();
  if (process.versions.node.startsWith("20.")) setFlagsFromString("--interrupt-budget=1000000");
  const { run, processIo } = await import(main.href);
  process.exitCode = await run(process.argv.slice(2), processIo());
} else {
  process.stderr.write(
    "peerbar: ENOENT: the tool is not built yet: run `npx --yes pnpm@10.34.9 build`, or `npx --yes pnpm@10.34.9 peerbar ...`, which builds what is stale\n",
  );
  process.exitCode = 2;
}
