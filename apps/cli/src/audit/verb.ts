import type { Verb } from "../verb.js";

export const auditVerb: Verb = {
  name: "audit",
  summary:
    "a fleet's captures: which machines are alike, and how the others differ from their class",
  details: [
    "Captures of one class have the same devices in the same slots, or nearly so; the most frequent kind that shows everything is what the others are compared with. Left out is what changes by itself: BAR addresses, IOMMU group numbers, device names, and the current speed of links (--link-speed compares it).",
    "A ledger makes an audit resume: files that did not change are not read again. The ledgers of shards are put together by --merge, on any machine: the captures need not be there.",
    "Exit code: 0 all are like their class, 1 some differ, 3 some could not be read or do not show enough.",
  ],
  arguments: [
    {
      name: "[inputs...]",
      description:
        "captures, directories of captures, quoted patterns, - for paths on standard input; with --merge: ledgers",
      completes: "file",
    },
  ],
  options: [
    {
      flags: "--ledger <file>",
      description: "keep what was read there, and go on from it",
      completes: "file",
    },
    {
      flags: "--shard <i/n>",
      description: "only part i of n, from 0; the same captures in every run",
    },
    { flags: "--merge", description: "the inputs are ledgers: report on all of them together" },
    {
      flags: "--reference <capture>",
      description: "compare all with this machine instead of the most frequent kind",
      completes: "file",
    },
    { flags: "--link-speed", description: "compare the current speed of links too" },
    { flags: "--jobs <n>", description: "threads that read; one a core by default" },
    {
      flags: "--json",
      description: "JSON Lines: classes, differences, captures that differ, a summary",
    },
  ],
  examples: [
    ["audit captures/", "every capture below a directory"],
    ["audit 'rack*/**/*.json' --ledger audit.jsonl", "a pattern; a second run reads what is new"],
    ["audit now.json --reference good.json", "one machine with what it should be"],
    ["audit captures/ --shard 0/4 --ledger 0.jsonl", "one of four parts"],
    ["audit --merge 0.jsonl 1.jsonl 2.jsonl 3.jsonl --json", "all four together"],
  ],
  run: async (io, options, inputs) =>
    (await import("../commands/audit.js")).audit(io, options, inputs),
};
