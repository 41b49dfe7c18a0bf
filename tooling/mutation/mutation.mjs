/**
 * Mutation testing: changes the code of one room in small ways and sees whether its tests notice. `pnpm mutation [core|vfio-pci|iommufd]`,
 * all three where none is named. Incremental: what neither a source nor a test has changed is not run again. Ends with 1 below the score that
 * rooms.mjs asks for. `--only FILE` mutates one file, `--report` shows the last run.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { setPriority, tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { Stryker } from "@stryker-mutator/core";
import { rooms, threshold } from "./rooms.mjs";
import { summarize, survivorsOf } from "./summary.mjs";

const FILES_AT_ONCE = 4;

// Whoever works on the machine meanwhile comes first; the workers inherit it.
setPriority(19);
const root = resolve(dirname(fileURLToPath(import.meta.url)), "../..");
const args = process.argv.slice(2);
const only = flagOf("--only");
const named = args.filter((arg, i) => !arg.startsWith("--") && args[i - 1] !== "--only");
const unknown = named.find((name) => !(name in rooms));
if (unknown !== undefined) {
  console.error(`mutation: no such room: ${unknown}; there are ${Object.keys(rooms).join(", ")}`);
  process.exit(2);
}

for (const room of named.length > 0 ? named : Object.keys(rooms)) await mutate(room);

async function mutate(room) {
  const cache = join(root, "node_modules/.cache/mutation", room);
  mkdirSync(cache, { recursive: true });
  const report = join(cache, "report.json");
  if (!args.includes("--report")) await run(room, cache, report);
  if (!existsSync(report)) {
    console.error(`mutation: ${room} was never run here`);
    process.exitCode = 2;
    return;
  }
  const result = JSON.parse(readFileSync(report, "utf8"));
  const { score, line } = summarize(room, result);
  for (const survivor of survivorsOf(result)) console.log(survivor);
  console.log(line);
  if (score < threshold) process.exitCode = 1;
}

async function run(room, cache, report) {
  const folder = join(root, "packages", room);
  process.chdir(folder);
  const { leaveOut } = rooms[room];
  const chosen = only === undefined ? filesOf(folder, leaveOut) : [only];
  const kept = join(cache, only === undefined ? "incremental.json" : "incremental-part.json");
  forgetWhatRunsAtLoad(kept);
  // Some files at a time: what is done stays done where a run is stopped.
  for (let at = 0; at < chosen.length; at += FILES_AT_ONCE) {
    await runFiles(room, chosen.slice(at, at + FILES_AT_ONCE), kept, report);
  }
}

async function runFiles(room, mutate, incrementalFile, report) {
  const stryker = new Stryker({
    mutate,
    plugins: [
      fileURLToPath(import.meta.resolve("@stryker-mutator/vitest-runner")),
      fileURLToPath(import.meta.resolve("./prose.mjs")),
    ],
    ignorers: ["prose"],
    testRunner: "vitest",
    vitest: { configFile: join(root, "tooling/mutation/vitest.config.mjs"), related: true },
    coverageAnalysis: "perTest",
    ignoreStatic: false,
    concurrency: Number(process.env.MUTATION_CONCURRENCY ?? 2),
    incremental: true,
    incrementalFile,
    // A folder of its own, so that no tool of this repository finds the copies.
    tempDirName: join(tmpdir(), `peerbar-mutation-${room}`),
    checkers: [],
    reporters: ["json", "progress-append-only"],
    jsonReporter: { fileName: report },
    // A machine with other work must not make slow mutants look caught.
    timeoutMS: Number(process.env.MUTATION_TIMEOUT_MS ?? 20_000),
    disableTypeChecks: false,
    allowEmpty: true,
    warnings: { slow: false, unknownOptions: true },
    logLevel: "info",
  });
  await stryker.runMutationTest();
}

/** Code that runs as its module loads is covered by no test in particular, so Stryker would call it a survivor whatever tests are added. */
function forgetWhatRunsAtLoad(path) {
  if (!existsSync(path)) return;
  const kept = JSON.parse(readFileSync(path, "utf8"));
  for (const file of Object.values(kept.files)) {
    file.mutants = file.mutants.filter(
      ({ status, coveredBy }) => status !== "Survived" || (coveredBy?.length ?? 0) > 0,
    );
  }
  writeFileSync(path, JSON.stringify(kept));
}

/** Source files of a room, largest first; their tests stay the same from run to run. */
function filesOf(folder, leaveOut) {
  return readdirSync(join(folder, "src"), { withFileTypes: true })
    .filter((item) => item.isFile() && item.name.endsWith(".ts"))
    .map(({ name }) => `src/${name}`)
    .filter((path) => !leaveOut.includes(path))
    .sort((a, b) => statSync(join(folder, b)).size - statSync(join(folder, a)).size);
}

function flagOf(flag) {
  return args.includes(flag) ? args[args.indexOf(flag) + 1] : undefined;
}
