import { build, cli, hand } from "./lib.mjs";

build("peerbar");
hand([cli, ...process.argv.slice(2)]);
