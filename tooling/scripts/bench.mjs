import { parseArgs } from "node:util";
import { build, hand, root, say } from "./lib.mjs";

const file = { type: "string" };
const { positionals: suites } = parseArgs({
  args: process.argv.slice(2),
  allowPositionals: true,
  strict: false,
  options: { json: file, baseline: file, exporter: file, importer: file, backend: file },
});
say("building the benchmarks ...");
build("@peerbar/bench");
const wanted = (name) => suites.length === 0 || suites.includes(name);
// Whole processes are timed with the command line tool itself; a fleet for it to audit is made by the packages.
if (wanted("processes") || wanted("audit")) build("peerbar");
if (wanted("audit")) build("@peerbar/p2pdma...");
hand([`${root}/apps/bench/dist/main.js`, ...process.argv.slice(2)]);
