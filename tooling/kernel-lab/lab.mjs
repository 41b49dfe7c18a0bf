/** `pnpm lab`: a real kernel in an emulated machine, and a test, a command or a shell inside it. docs/kernel-lab.md tells more. */
import { copyFileSync, existsSync, readdirSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import { chooseAccel } from "./src/accel.mjs";
import { parseArguments, usage } from "./src/arguments.mjs";
import { boot } from "./src/boot.mjs";
import { bundleProgram, bundleTests } from "./src/bundle.mjs";
import { kernelAtHand } from "./src/cached.mjs";
import { check, differential } from "./src/differential.mjs";
import { doctor } from "./src/doctor.mjs";
import { commandJob, programJob, shellJob, testJob } from "./src/job.mjs";
import { findKernel } from "./src/kernel.mjs";
import { machineByName, machines } from "./src/machines.mjs";
import { oracleModule } from "./src/oracle.mjs";
import { room, root } from "./src/paths.mjs";
import { installRequirements } from "./src/requirements.mjs";
import { killChildren } from "./src/run.mjs";
import { LabError, say } from "./src/say.mjs";
import { verdict } from "./src/verdict.mjs";

const caller = process.env.INIT_CWD ?? process.cwd();

for (const [signal, number] of [
  ["SIGINT", 2],
  ["SIGTERM", 15],
  ["SIGHUP", 1],
]) {
  process.on(signal, () => {
    killChildren();
    process.exit(128 + number);
  });
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof LabError)) throw error;
  say(error.message);
  process.exitCode = error.exitCode;
}

async function main(words) {
  const options = parseArguments(words);
  switch (options.verb) {
    case "help":
      process.stdout.write(usage);
      return 0;
    case "machines":
      for (const { name, about } of machines) process.stdout.write(`${name.padEnd(16)} ${about}\n`);
      return 0;
    case "doctor":
      return doctor((line) => process.stdout.write(`${line}\n`));
    case "check":
      return check(options.rest.map((file) => resolve(caller, file)));
    default:
      return start(options);
  }
}

async function start(options) {
  const names = options.machine.split(",");
  for (const name of names) machineByName(name);
  if (names.length > 1 && options.verb !== "differential")
    throw new LabError("one machine at a time", 2);
  const files = testFiles(options);
  const bench = options.verb === "bench";
  const kernel =
    bench && options.cached
      ? await kernelAtHand(["gcc"])
      : await findKernel({ refresh: options.refresh });
  const oracle = bench ? undefined : await oracleModule(kernel);
  if (options.verb === "build") {
    process.stdout.write(`${kernel.image}\n`);
    return 0;
  }
  installRequirements(["boot"]);
  const accel = await chooseAccel(options.accel, kernel);
  const { cpus, memoryMiB, timeoutSeconds } = options;
  if (options.verb === "differential") {
    const { cases, seed, save } = options;
    const every = { kernel, oracle, accel, cpus, memoryMiB, timeoutSeconds };
    return differential({
      machines: names,
      cases,
      seed,
      save: save && resolve(caller, save),
      boot: every,
    });
  }
  const machine = machineByName(options.machine);
  const prepare = preparation(options, files);
  say(`booting ${machine.name} (Linux ${kernel.version}, ${accel}) ...`);
  const started = Date.now();
  const result = await boot({
    machine,
    kernel,
    oracle,
    accel,
    prepare,
    collect: (folder) => {
      const rounds = join(folder, "bench.json");
      if (bench && options.json !== undefined && existsSync(rounds))
        copyFileSync(rounds, resolve(caller, options.json));
    },
    script: script(options, machine),
    interactive: options.verb === "shell",
    timeoutSeconds: options.verb === "shell" ? 86_400 : timeoutSeconds,
    cpus,
    memoryMiB,
    onOutput: (chunk) => process.stdout.write(chunk),
    onComplaint: (chunk) => process.stderr.write(chunk),
    onConsole: (line) => {
      if (options.showConsole) process.stderr.write(`| ${line}\n`);
      if (line === "peerbar-lab: ready") {
        say(`up after ${((Date.now() - started) / 1000).toFixed(1)} s`);
      }
    },
  });
  const { exitCode, lines } = verdict(result);
  for (const line of lines) say(line);
  say(`${result.seconds.toFixed(1)} s, exit ${exitCode}`);
  return exitCode;
}

function script(options, machine) {
  switch (options.verb) {
    case "shell":
      return shellJob(machine, caller);
    case "run":
      return commandJob(machine, options.rest, caller);
    case "bench":
      return programJob(machine, "loops.mjs", {
        PEERBAR_LAB_JUDGE: options.json === undefined ? "here" : "no",
      });
    default:
      return testJob(machine);
  }
}

/** What has to be put into the job's folder before the start. */
function preparation(options, files) {
  if (options.verb === "test") return (folder) => bundleTests(files, join(folder, "tests"));
  if (options.verb !== "bench") return undefined;
  return (folder) => bundleProgram(join(room, "bench/loops.ts"), join(folder, "tests"), "loops");
}

/** The test files, relative to the checkout's root; the lab's own where none is named. */
function testFiles(options) {
  if (options.verb !== "test") return [];
  if (options.rest.length === 0) {
    return readdirSync(join(room, "lab"))
      .filter((name) => name.endsWith(".lab.ts"))
      .sort()
      .map((name) => relative(root, join(room, "lab", name)));
  }
  return options.rest.map((file) => {
    const path = resolve(caller, file);
    if (!existsSync(path)) throw new LabError(`${file} does not exist`, 2);
    return relative(root, path);
  });
}
