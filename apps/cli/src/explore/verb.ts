import { guide } from "../guide.js";
import type { Verb } from "../verb.js";

const strategies = ["exhaustive", "random", "coverage"];

/** `peerbar explore`, as data. */
export const exploreVerb: Verb = {
  name: "explore",
  summary: "runs a scenario in every order of what happens at once, and reports what breaks",
  details: [
    `The module exports one or more scenarios of @peerbar/conformance/explore (${guide("explorer.md")}). Found are failing assertions, sanitizer reports, deadlocks, lost wake-ups, livelock, unhandled rejections, and locks taken in both orders. Each failure comes with a schedule that repeats it.`,
    'Exit 0 where nothing was found, 1 where something was. Whether every order was run is said in words: "no failure found" is less than "proven up to 2 preemptions".',
  ],
  arguments: [
    {
      name: "[file...]",
      description:
        "a JavaScript module; peerbar's own scenarios where absent; with --merge the results of shards",
      completes: "file",
    },
  ],
  options: [
    {
      flags: "--strategy <name>",
      description: `${strategies.join(", ")}; exhaustive where absent`,
      completes: strategies,
    },
    {
      flags: "--bound <preemptions>",
      description: "exhaustive: only orders that interrupt a running actor so often at most",
    },
    { flags: "--runs <count>", description: "orders at most; 1000000 where absent" },
    { flags: "--seed <number>", description: "random, coverage: which orders; 1 where absent" },
    {
      flags: "--shard <i/n>",
      description: "only part i of n, from 0: together they are the whole",
    },
    {
      flags: "--failures <count>",
      description: "goes on until so many different ones; 1 where absent",
    },
    { flags: "--only <text>", description: "scenarios whose name contains the text" },
    { flags: "--replay <schedule>", description: "runs that one order, and prints its steps" },
    { flags: "--merge", description: "joins the --json results of shards" },
    {
      flags: "--hang <seconds>",
      description: "gives up on a step that takes longer; 30 where absent",
    },
    {
      flags: "--report <file>",
      description: "a page of the replayed order, or of the first failure, and a Perfetto trace",
      completes: "file",
    },
    { flags: "--json", description: "one JSON object instead of text" },
  ],
  examples: [
    ["explore", "peerbar's own exporter and importers against reset, close and memory off"],
    ["explore ./reset-race.js", "every order"],
    ["explore ./reset-race.js --bound 2", "every order with two preemptions at most"],
    ["explore ./reset-race.js --shard 0/4 --json > 0.json", "a quarter, for a CI matrix"],
    ["explore --merge 0.json 1.json 2.json 3.json", "what they say together"],
    ["explore ./reset-race.js --replay ab2c", "one order again, step by step"],
  ],
  run: async (io, options, files) => (await import("./explore.js")).explore(io, options, files),
};
