import { copyFileSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { boot } from "./boot.mjs";
import { bundleProgram } from "./bundle.mjs";
import { programJob } from "./job.mjs";
import { machineByName } from "./machines.mjs";
import { room } from "./paths.mjs";
import { run } from "./run.mjs";
import { say } from "./say.mjs";
import { verdict } from "./verdict.mjs";

/**
 * The differential test: random cases are asked of the kernel, one boot a machine, and then of the model with the kernel's live defects.
 *
 * @param {object} options
 * @param {string[]} options.machines names
 * @param {number} options.cases of each machine
 * @param {number} options.seed of the first case; the next has the next number
 * @param {string} [options.save] folder for the answer files
 * @param {object} options.boot what every boot has: kernel, oracle, accel, cpus, memoryMiB, timeoutSeconds
 * @returns {Promise<number>} exit code
 */
export async function differential(options) {
  const folder = mkdtempSync(join(tmpdir(), "peerbar-lab-answers-"));
  const remove = () => rmSync(folder, { recursive: true, force: true });
  process.once("exit", remove);
  let worst = 0;
  for (const name of options.machines) {
    const machine = machineByName(name);
    const values = { PEERBAR_LAB_CASES: `${options.cases}`, PEERBAR_LAB_SEED: `${options.seed}` };
    say(`asking ${name}: ${options.cases} cases, seeds from ${options.seed} ...`);
    const file = join(folder, `${name}.json`);
    const result = await boot({
      ...options.boot,
      machine,
      script: programJob(machine, "guest.mjs", values),
      prepare: (job) =>
        bundleProgram(join(room, "differential/guest.ts"), join(job, "tests"), "guest"),
      collect: (job) => copyIfThere(join(job, "answers.json"), file),
      onOutput: (chunk) => process.stdout.write(chunk),
      onComplaint: (chunk) => process.stderr.write(chunk),
    });
    const { exitCode, lines } = verdict(result);
    for (const line of lines) say(line);
    say(`${name}: ${result.seconds.toFixed(1)} s, exit ${exitCode}`);
    worst = Math.max(worst, exitCode);
    if (exitCode !== 0) continue;
    if (options.save !== undefined) {
      mkdirSync(options.save, { recursive: true });
      copyFileSync(file, resolve(options.save, `${name}.json`));
    }
    worst = Math.max(worst, await check([file]));
  }
  return worst;
}

/** Answer files through the model. @returns {Promise<number>} exit code */
export async function check(files) {
  const folder = mkdtempSync(join(tmpdir(), "peerbar-lab-check-"));
  try {
    await bundleProgram(join(room, "differential/check.ts"), folder, "check");
    const { status } = await run(
      process.execPath,
      ["--enable-source-maps", join(folder, "check.mjs"), ...files],
      {
        onLine: (line) => process.stdout.write(`${line}\n`),
      },
    );
    return status ?? 1;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function copyIfThere(from, to) {
  try {
    copyFileSync(from, to);
  } catch (error) {
    if (error.code !== "ENOENT") throw error;
  }
}
