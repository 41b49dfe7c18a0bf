import { readFileSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { run } from "../../scripts/packages.mjs";
import { same } from "./checks.mjs";

const roles = ["importer", "exporter", "backend"];

/**
 * `peerbar new` from the installed tarball: each project's tests, its types, and `peerbar check` on it. The first is installed as its
 * README says; the others ask for the same packages and share them.
 *
 * @param bin - folder where the tool is installed
 * @returns {Promise<string | undefined>} a node_modules with every package and a test runner
 */
export async function checkNewProjects(checks, place, packed, bin) {
  let modules;
  for (const role of roles) {
    const folder = join(place, `my-${role}`);
    const passed = await checks.check(`peerbar new ${role} my-${role}`, () => {
      const tool = join(bin, "node_modules/peerbar/bin/peerbar.js");
      run([process.execPath, tool, "new", role, `my-${role}`], { cwd: place });
    });
    if (!passed) continue;
    if (modules === undefined) {
      const installed = await checks.check(`my-${role}: npm install`, () => {
        install(folder, packed);
      });
      if (!installed) return undefined;
      modules = join(folder, "node_modules");
    } else {
      symlinkSync(modules, join(folder, "node_modules"));
    }
    await checkProject(checks, `my-${role}`, folder);
    await checks.check(`my-${role}: npm run check`, () => {
      const said = run(["npm", "run", "check"], { cwd: folder });
      if (!/^[1-9]\d* passed, 0 failed/m.test(said)) throw new Error(said);
    });
    // `npm run check` compiles the tests too: a test that is gone from the sources must not live on there.
    await checks.check(`my-${role}: its tests again, without the one that was removed`, () => {
      rmSync(join(folder, `test/${role}.test.ts`));
      const { files } = runTests(folder);
      same(files.join(), join(folder, "test/conformance.test.ts"), "test files");
    });
  }
  return modules;
}

/** A project's tests and types, with what is in its node_modules. */
export async function checkProject(checks, name, folder) {
  await checks.check(`${name}: its tests`, () => {
    const { passed, skipped } = runTests(folder);
    return `${passed} passed, ${skipped} skipped`;
  });
  await checks.check(`${name}: its types`, () => {
    run([process.execPath, "node_modules/typescript/bin/tsc"], { cwd: folder });
  });
}

/** Runs a project's tests, all of which must pass. @returns what ran: counts, and the files with tests */
function runTests(folder) {
  const report = join(folder, "report.json");
  const vitest = ["node_modules/vitest/vitest.mjs", "run", "--reporter=json"];
  run([process.execPath, ...vitest, `--outputFile=${report}`], { cwd: folder });
  const counts = JSON.parse(readFileSync(report, "utf8"));
  same(counts.numFailedTests, 0, "failed tests");
  if (counts.numPassedTests === 0) throw new Error("no test ran");
  const files = counts.testResults.map(({ name }) => name).sort();
  return { passed: counts.numPassedTests, skipped: counts.numPendingTests, files };
}

/** `npm install`, where the packages that are not on a registry yet come from their tarballs. */
function install(folder, packed) {
  const tarballs = packed.map(({ file }) => file);
  const quiet = ["--no-audit", "--no-fund", "--ignore-scripts"];
  run(["npm", "install", ...quiet, "@types/node@20.19.0", ...tarballs], { cwd: folder });
}
