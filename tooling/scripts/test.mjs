import { build, hand, root, say } from "./lib.mjs";

// The tests read sources; only those that start `peerbar` itself need the build.
say("building the command line tool for the tests that start it ...");
const seconds = build("peerbar");
say(`built in ${seconds.toFixed(1)} s; running the tests of all packages ...`);
hand(["node_modules/vitest/vitest.mjs", "run", ...process.argv.slice(2)], { cwd: root });
