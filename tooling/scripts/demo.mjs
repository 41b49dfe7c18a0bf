import { build, cli, hand, say } from "./lib.mjs";

const args = process.argv.slice(2);
say("building what the demo needs (a few seconds the first time) ...");
const seconds = build("peerbar");
say(`built in ${seconds.toFixed(1)} s; running: ${["peerbar demo", ...args].join(" ")}\n`);
hand([cli, "demo", ...args]);
