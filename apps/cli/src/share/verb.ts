import { backends } from "../kinds.js";
import { cpu, file } from "../options.js";
import type { Verb } from "../verb.js";

export const shareVerb: Verb = {
  name: "share",
  summary: "lets CLIENT reach a BAR of PROVIDER: bind, export, map, hold, release",
  details: [
    "On the native backend both functions are taken from their drivers, PROVIDER's BAR becomes a dma-buf, and the dma-buf is mapped into the address space of CLIENT by iommufd. It is held until Ctrl-C or for --hold seconds; then everything is released and both functions are back with their drivers. A run that was killed is cleaned up by the next one.",
    "--backend mock rehearses the same on a simulated machine: this one, or the one of -F FILE.",
    "iommufd itself does not ask whether peers reach each other; this verb does first, and stops where the answer is no.",
    "Exit code: 0 shared and released, 1 the pair cannot share, 3 this machine cannot (privilege, module, device node).",
  ],
  arguments: [
    {
      name: "<provider>",
      description: "the function whose BAR is shared: PCI address or device name",
      completes: "function",
    },
    {
      name: "<client>",
      description: "the function that reaches it: PCI address or device name",
      completes: "function",
    },
  ],
  options: [
    {
      flags: "--bar <n>",
      description: "which BAR of PROVIDER",
      completes: ["0", "1", "2", "3", "4", "5"],
    },
    {
      flags: "--range <offset+length>",
      description: "which part of it, such as 0+2M; the whole BAR by default",
    },
    {
      flags: "--backend <name>",
      description: "native: the running kernel; mock: a simulated machine",
      completes: backends,
    },
    {
      flags: "--hold <seconds>",
      description: "release after that time; until Ctrl-C by default, and at once on the mock",
    },
    { flags: "--anyway", description: "share although the pair is said not to work" },
    { flags: "--force", description: "take a function that is in use: mounted, up, opened" },
    { ...file, description: "with --backend mock: a capture instead of this machine" },
    cpu,
    {
      flags: "--json",
      description: "two lines of JSON: one when it is shared, one when it is released",
    },
  ],
  examples: [
    ["sudo peerbar share 0000:01:00.0 0000:02:00.0 --bar 2", "until Ctrl-C"],
    [
      "share -F server.txt 1b:00.0 1d:00.0 --bar 1 --range 0+2M --backend mock",
      "a rehearsal on a captured machine",
    ],
  ],
  run: async (io, options, [provider = "", client = ""]) =>
    (await import("./share.js")).share(io, options, provider, client),
};
