import { build, hand, root, say } from "./lib.mjs";

say("building the benchmarks ...");
build("@peerbar/bench");
hand([`${root}/apps/bench/dist/main.js`, ...process.argv.slice(2)]);
