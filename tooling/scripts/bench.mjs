import { build, hand, root, say } from "./lib.mjs";

const suites = process.argv.slice(2).filter((word) => !word.startsWith("-"));
say("building the benchmarks ...");
build("@peerbar/bench");
// Whole processes are timed with the command line tool itself.
if (suites.length === 0 || suites.includes("processes")) build("peerbar");
hand([`${root}/apps/bench/dist/main.js`, ...process.argv.slice(2)]);
