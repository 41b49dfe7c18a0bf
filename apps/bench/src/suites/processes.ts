import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { generateFleet, toCapture } from "@peerbar/p2pdma";
import type { BenchCase, GrowthSeries, MemoryBench, Operation, Skipped } from "../case.js";
import { capture, LARGE_DUMP } from "../inputs.js";
import { openReport, pageBytes } from "../report-page.js";
import { scratchFolder } from "../scratch.js";

const HEX_DUMP = "asus-p6t6-nf200-switch.lspci-xxxx.txt";
const SYSFS = "nhm-2-roots.sysfs.tar.gz";

/** Runs a program to its end, its output thrown away; throws where it fails, so that a failure is not taken for speed. */
function whole(program: string, ...args: string[]): Operation {
  return () => {
    const ran = spawnSync(program, args, { stdio: ["ignore", "ignore", "pipe"], encoding: "utf8" });
    if (ran.status !== 0)
      throw new Error(`${program} ${args.join(" ")}: ${ran.error?.message ?? ran.stderr.trim()}`);
  };
}

const node = whole(process.execPath, "-e", "0");

function peerbar(...args: string[]): Operation | Skipped {
  // The program that users start: the bundle beside it only exports what it runs.
  const cli = fileURLToPath(new URL("../../cli/bin/peerbar.js", import.meta.url));
  return existsSync(new URL("../../cli/dist/main.js", import.meta.url))
    ? whole(process.execPath, cli, ...args)
    : { skipped: "the command line tool is not built (pnpm peerbar --help)" };
}

/** Why a tool cannot be compared with, or undefined. */
function missing(tool: string, packageName: string): Skipped | undefined {
  const { error } = spawnSync(tool, ["--version"], { stdio: "ignore" });
  return error === undefined ? undefined : { skipped: `${tool} is not installed (${packageName})` };
}

/** The first line of what it says where it fails. */
function failureOf(operation: Operation): string | undefined {
  try {
    operation();
    return undefined;
  } catch (error) {
    return (error instanceof Error ? error.message : String(error)).split("\n", 1)[0];
  }
}

/** A case of whole processes: `arguments_` get the path of a capture. */
function processCase(
  id: string,
  name: string,
  arguments_: (path: string) => string[],
  yardstick: (path: string) => Operation | Skipped,
): BenchCase {
  return {
    id,
    setup() {
      const path = capture(name);
      if (typeof path !== "string") return path;
      const run = peerbar(...arguments_(path));
      if (typeof run !== "function") return run;
      const other = yardstick(path);
      if (typeof other !== "function") return other;
      // A tool that cannot read the capture is nothing to compare with.
      const problem = failureOf(other);
      if (problem !== undefined) return { skipped: problem };
      return { run, yardstick: other, batch: 1, elsewhere: true };
    },
  };
}

/** Unpacks a capture of /sys for hwloc, which wants a folder, and a processor in it where the capture has PCI alone. */
function unpacked(path: string): string {
  const { path: folder } = scratchFolder();
  whole("tar", "-xzf", path, "-C", folder)();
  const cpus = join(folder, "sys/devices/system/cpu");
  const core = join(cpus, "cpu0/topology");
  if (existsSync(core)) return folder;
  mkdirSync(core, { recursive: true });
  writeFileSync(join(cpus, "online"), "0\n");
  for (const [name, text] of Object.entries({
    core_id: "0",
    core_cpus: "1",
    physical_package_id: "0",
    package_cpus: "1",
  })) {
    writeFileSync(join(core, name), `${text}\n`);
  }
  return folder;
}

export const processes: readonly BenchCase[] = [
  processCase(
    "processes/matrix-h800",
    LARGE_DUMP,
    (path) => ["matrix", "--class", "gpu,nic,nvme", "-F", path],
    () => node,
  ),
  processCase(
    "processes/all-pairs-h800",
    LARGE_DUMP,
    (path) => ["matrix", "--json", "-F", path],
    () => node,
  ),
  processCase(
    "processes/topo-and-lspci",
    HEX_DUMP,
    (path) => ["topo", "-F", path],
    (path) => missing("lspci", "pciutils") ?? whole("lspci", "-F", path, "-vv"),
  ),
  processCase(
    "processes/topo-and-lstopo",
    SYSFS,
    (path) => ["topo", "-F", path],
    (path) =>
      missing("lstopo-no-graphics", "hwloc") ??
      whole(
        "lstopo-no-graphics",
        "--if",
        "fsroot",
        "--input",
        unpacked(path),
        "--of",
        "console",
        "--filter",
        "io:all",
      ),
  ),
  {
    id: "processes/report-h800",
    setup: ({ hurried }) => openReport(hurried ? 2 : 11),
  },
];

/** The report page as everyone downloads or mails it, without what it tells. */
export const processesMemory: readonly MemoryBench[] = [
  {
    id: "processes/report-page",
    measure() {
      const bytes = pageBytes();
      return typeof bytes === "number" ? { bytes, count: 1 } : bytes;
    },
  },
];

/** A whole process by the size of the machine it is asked about: its start is in every size. */
export const processesGrowth: readonly GrowthSeries[] = [
  {
    id: "processes/matrix",
    unit: "endpoints",
    // As JSON the last has a million answers, and takes seconds; `topology/all-pairs` has the larger ones.
    sizes: [64, 256, 1_024],
    rounds: 3,
    setup(size) {
      const folder = scratchFolder();
      const file = join(folder.path, "machine.json");
      writeFileSync(file, toCapture(generateFleet({ roots: size / 64 })));
      const run = peerbar("matrix", "--json", "-F", file);
      if (typeof run !== "function") return run;
      return {
        sample() {
          const started = performance.now();
          run();
          return (performance.now() - started) * 1e6;
        },
        close: folder.remove,
      };
    },
  },
];
