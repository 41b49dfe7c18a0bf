import { classNames } from "@peerbar/words";
import { auditVerb } from "./audit/verb.js";
import { exploreVerb } from "./explore/verb.js";
import { guide } from "./guide.js";
import { backends, roles, shells } from "./kinds.js";
import { labelsVerb } from "./labels/verb.js";
import { cpu, file } from "./options.js";
import { shareVerb } from "./share/verb.js";
import type { ArgumentSpec, OptionSpec, Verb } from "./verb.js";

const json: OptionSpec = { flags: "--json", description: "one JSON object instead of text" };
const ascii: OptionSpec = {
  flags: "--ascii",
  description: "draw with ASCII only, as in a locale without UTF-8",
};
const slot: OptionSpec = {
  flags: "-s, --slot <selector>",
  description:
    "by address, as lspci takes it ([[domain]:bus:][slot][.function]), or by name: nvme0, mlx5_0, card0; several with commas",
  completes: "function",
};
const ids: OptionSpec = {
  flags: "-d, --device <ids>",
  description: "by ID, as lspci takes it: [vendor]:[device][:class[:prog-if]]",
};
const className: OptionSpec = {
  flags: "--class <names>",
  description: `by class: ${classNames.join(",")}`,
  completes: "class",
};
const provider: ArgumentSpec = {
  name: "<provider>",
  description: "the function whose BAR is reached: PCI address or device name",
  completes: "function",
};
const client: ArgumentSpec = {
  name: "<client>",
  description: "the function that issues the DMA: PCI address or device name",
  completes: "function",
};

/** Every verb, in the order of the help. */
export const verbs: readonly Verb[] = [
  {
    name: "demo",
    summary:
      "the main job on a simulated machine: decide, export, import twice, move bytes, reset, fault, recover",
    options: [
      file,
      cpu,
      {
        flags: "--provider <bdf>",
        description: "the function whose BAR is shared",
        completes: "function",
      },
      {
        flags: "--client <bdf>",
        description: "the function that reaches it",
        completes: "function",
      },
      {
        flags: "--bar <n>",
        description: "which BAR of the provider; the largest memory BAR by default",
        completes: ["0", "1", "2", "3", "4", "5"],
      },
      { flags: "--range <offset+length>", description: "which part of it, such as 0+2M" },
      {
        flags: "--backend <name>",
        description:
          "mock: a simulated machine; native: the running kernel, with QEMU's edu as client",
        completes: backends,
      },
      {
        flags: "--report <file>",
        description: "also a page with every event in order, and a Perfetto trace beside it",
        completes: "file",
      },
      json,
    ],
    examples: [
      ["demo", "on the shipped two-socket GPU server"],
      ["demo -F server.txt --provider 1b:00.0 --client 1d:00.0", "on a machine of yours"],
    ],
    run: async (io, options) => (await import("./commands/demo.js")).demo(io, options),
  },
  {
    name: "topo",
    summary: "the PCI tree with ACS, link, NUMA node and IOMMU group",
    details: [
      "An ACS bit that is set is printed by name; RR, CR and EC redirect peer requests up to the root complex and stand first, after an exclamation mark. acs:? means that the input cannot show it (root privilege was missing), never that there is none.",
      "Links print as now/at best, in GT/s x lanes. Virtual functions are counted at their physical function; --vfs lists them.",
    ],
    options: [
      file,
      slot,
      ids,
      className,
      {
        flags: "--all",
        description: "list every function of the root buses; a crowd of CPU parts is one line else",
      },
      { flags: "--vfs", description: "list virtual functions one by one" },
      ascii,
      json,
    ],
    examples: [
      ["topo", "this machine"],
      ["topo -F server.txt --class gpu,nic", "only what leads to GPUs and NICs"],
      ["topo -F server.txt -s nvme0", "where one drive sits"],
    ],
    run: async (io, options) => (await import("./commands/topo.js")).topo(io, options),
  },
  {
    name: "why",
    summary: "can CLIENT reach the BARs of PROVIDER, by which way, and if not, why and what helps",
    details: [
      "Explains one ordered pair: both ways up to where they meet, the ACS bits of each port, who decides, the map type the kernel will use, which addresses the client gets (bus, IOVA or direct), the narrowest link, and the smallest change that improves the answer, as text to paste.",
      "Exit code: 0 it can, 1 it cannot, 3 the input cannot tell.",
    ],
    arguments: [provider, client],
    options: [file, cpu, ascii, json],
    examples: [
      ["why -F server.txt 1b:00.0 1d:00.0", "a pair of a captured machine"],
      ["sudo peerbar why card0 mlx5_0", "by device name, on this machine"],
      ["why -F server.txt 1b:00.0 1d:00.0 --cpu amd-zen", "as if the CPU were AMD Zen or newer"],
    ],
    run: async (io, options, [a = "", b = ""]) =>
      (await import("./commands/why.js")).why(io, options, a, b),
  },
  {
    name: "matrix",
    summary: "the verdict of every ordered pair of endpoints",
    details: [
      "Rows are providers (whose BAR is reached), columns clients (who issue the DMA). Without selectors every endpoint is taken, each with itself included. Selectors of different kinds narrow each other.",
    ],
    options: [
      file,
      cpu,
      slot,
      ids,
      className,
      { flags: "--json", description: "one JSON object with one entry a pair" },
      { flags: "--csv", description: "one line a pair, with a header line" },
      { flags: "--dot", description: "a Graphviz graph of what can reach what" },
    ],
    examples: [
      ["matrix -F server.txt --class gpu,nic,nvme", "the devices that matter"],
      ["matrix -F server.txt -s 1b:,mlx5_0 --csv", "one bus and one NIC, for a spreadsheet"],
      ["matrix -F server.txt --class gpu --dot | dot -Tsvg >gpus.svg", "as a picture"],
    ],
    run: async (io, options) => (await import("./commands/matrix.js")).matrix(io, options),
  },
  {
    name: "what-if",
    summary: "what changes, IOMMU groups included, when ACS, the CPU rule, the IOMMU or a slot do",
    details: [
      "Edits are made on a copy: nothing is written to the machine. They may be combined and repeated.",
      "--acs off clears RR, CR and EC, as pci=disable_acs_redir= does; on sets what the kernel sets with an IOMMU (SV, RR, CR, UF as far as the port has them); a number is the whole control register.",
    ],
    options: [
      file,
      cpu,
      {
        flags: "--acs <bdf=value>",
        description:
          "ACS of one function: BDF=off, BDF=on or BDF=0x1d; several with commas or repeated",
        completes: "edit",
        repeats: true,
      },
      {
        flags: "--trust-host-bridge",
        description: "as if every host bridge were on the kernel's list",
      },
      {
        flags: "--iommu <mode>",
        description: "off, pt (identity domains) or on (translating domains)",
        completes: ["off", "pt", "on"],
      },
      {
        flags: "--move <bdf=port>",
        description:
          "plug a function in below another port: BDF=PORT; several with commas or repeated",
        completes: "move",
        repeats: true,
      },
      slot,
      ids,
      className,
      ascii,
      json,
    ],
    examples: [
      ["what-if -F server.txt --acs 1a:01.0=off,1a:02.0=off", "two switch ports stop redirecting"],
      ["what-if -F server.txt --move 3b:00.0=1a:02.0 --class gpu,nic", "a NIC next to the GPU"],
      ["what-if -F server.txt --iommu off --json", "every pair and group that differs"],
    ],
    run: async (io, options) => (await import("./commands/what-if.js")).whatIf(io, options),
  },
  {
    name: "report",
    summary: "one page for a browser: tree, matrix, any pair explained, what-if; no network needed",
    details: [
      "The page computes its answers itself, with the code of this tool: choose another pair, switch ACS bits, the IOMMU or trust, and look. It is one file that can be mailed or kept; it holds what `capture` writes, and so no serial numbers.",
    ],
    options: [
      file,
      cpu,
      {
        flags: "-o, --output <file>",
        description: "write there, whole or not at all; stdout by default",
        completes: "file",
      },
      {
        flags: "--provider <bdf>",
        description: "with --client: the pair that the page opens with",
        completes: "function",
      },
      {
        flags: "--client <bdf>",
        description: "with --provider: the pair that the page opens with",
        completes: "function",
      },
      { flags: "--json", description: "say what was written as one JSON object; needs -o" },
    ],
    examples: [
      ["sudo peerbar report -o report.html", "this machine"],
      ["report -F server.txt -o report.html", "a captured one"],
      [
        "report -F server.txt --provider 1b:00.0 --client mlx5_0 -o pair.html",
        "and begin with that pair",
      ],
    ],
    run: async (io, options) => (await import("./commands/report.js")).report(io, options),
  },
  {
    name: "capture",
    summary: "writes down this machine for -F: topology, ACS, links, groups; no serial numbers",
    details: [
      "The same machine gives the same bytes. Run it as root: without CAP_SYS_ADMIN the kernel shows 64 bytes of config space, and ACS is then recorded as unknown. With -F another capture or dump is converted.",
    ],
    options: [
      file,
      {
        flags: "-o, --output <file>",
        description: "write there, whole or not at all; stdout by default",
        completes: "file",
      },
    ],
    examples: [
      ["sudo peerbar capture -o server.json", "this machine"],
      ["capture -F lspci.txt -o server.json", "what a dump shows, as a capture"],
    ],
    run: async (io, options) => (await import("./commands/capture.js")).capture(io, options),
  },
  auditVerb,
  labelsVerb,
  shareVerb,
  {
    name: "doctor",
    summary: "can this machine share BARs: kernel, device nodes, IOMMU, drivers, limits, ACS",
    details: [
      "Each finding that stands in the way names its fix. Nothing is changed. Exit code: 0 nothing is in the way, 1 something is, 3 some checks need privilege.",
    ],
    options: [
      {
        flags: "--root <directory>",
        description: "a root file system instead of /: with proc, sys, dev, boot and lib below it",
        completes: "directory",
      },
      ascii,
      json,
    ],
    examples: [
      ["sudo peerbar doctor", "this machine"],
      ["doctor --root /mnt/image --json", "a copied or mounted system"],
    ],
    run: async (io, options) => (await import("./commands/doctor.js")).doctor(io, options),
  },
  {
    name: "check",
    summary: "runs the conformance suite on your exporter, importer or backend",
    details: [
      "The module exports one or more subjects of @peerbar/conformance, as the guides make them: " +
        ["writing-an-importer.md", "writing-an-exporter.md", "writing-a-backend.md"]
          .map(guide)
          .join(", ") +
        ". Exit 1 where a case fails, or none passes.",
    ],
    arguments: [{ name: "<module>", description: "a JavaScript module", completes: "file" }],
    options: [json],
    examples: [
      ["check ./my-importer.subject.js", "every case, with the rule it proves"],
      ["check ./my-importer.subject.js --json", "for a CI job"],
    ],
    run: async (io, options, [module = ""]) =>
      (await import("./commands/check.js")).check(io, options, module),
  },
  exploreVerb,
  {
    name: "new",
    summary: "makes a project for an importer, exporter or backend whose tests pass at once",
    details: [
      "TypeScript, with the conformance suite of its role among its tests. The folder is the last part of the name, in the working directory; it must be empty or not there yet. Nothing is installed.",
    ],
    arguments: [
      { name: "<role>", description: roles.join(", "), completes: roles },
      { name: "<name>", description: "of the package: my-importer, @me/my-importer" },
    ],
    options: [
      {
        flags: "--directory <path>",
        description: "where to put it, instead of the name's last part",
        completes: "directory",
      },
    ],
    examples: [
      ["new importer my-importer", "then: cd my-importer, npm install, npm test"],
      ["new backend @me/iommu --directory backend", "a scoped name, in a folder of another"],
    ],
    run: async (io, options, [role = "", name = ""]) =>
      (await import("./new.js")).newProject(io, options, role, name),
  },
  {
    name: "completion",
    summary: "prints completion for a shell: verbs, options, and PCI addresses of -F FILE",
    arguments: [{ name: "<shell>", description: shells.join(", "), completes: shells }],
    options: [],
    examples: [
      ["completion bash >~/.local/share/bash-completion/completions/peerbar", "for bash"],
      ["completion zsh >~/.zfunc/_peerbar", "for zsh, with ~/.zfunc in fpath"],
      ["completion fish >~/.config/fish/completions/peerbar.fish", "for fish"],
    ],
    run: async (io, _options, [shell = ""]) =>
      (await import("./commands/completion.js")).completion(io, shell),
  },
];
