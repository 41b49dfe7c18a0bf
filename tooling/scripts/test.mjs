import { build, hand, root, say } from "./lib.mjs";

// The tests read sources; only those that start `peerbar` itself need the build.
say("building the command line tool for the tests that start it ...");
const seconds = build("peerbar");
say(`built in ${seconds.toFixed(1)} s; running the tests of all packages ...`);
// A worker for every CPU, which vitest would leave one of idle, and test files share a worker's modules: no test may need fresh ones.
// `vitest run` in a package isolates, for those who change it.
const options = ["--maxWorkers=100%", "--no-isolate"];
hand(["node_modules/vitest/vitest.mjs", "run", ...options, ...process.argv.slice(2)], {
  cwd: root,
});
