import { join } from "node:path";
import { startTests } from "@vitest/runner";
import { expect } from "./vitest.mjs";

const SECONDS = 1000;

/**
 * Runs test files one after the other and prints each test as it ends.
 *
 * @param {string} root of the checkout
 * @param {Map<string, () => Promise<unknown>>} files path to what imports it
 * @returns {Promise<number>} exit code: 0 all passed, 1 something failed or there was no test
 */
export async function runFiles(root, files) {
  const loads = new Map([...files].map(([file, load]) => [join(root, file), load]));
  const counts = { pass: 0, fail: 0, skip: 0 };
  const runner = {
    config: {
      root,
      name: "",
      setupFiles: [],
      passWithNoTests: false,
      allowOnly: true,
      retry: 0,
      sequence: { hooks: "stack", setupFiles: "list", shuffle: false, concurrent: false, seed: 0 },
      chaiConfig: {},
      maxConcurrency: 1,
      testTimeout: 300 * SECONDS,
      hookTimeout: 300 * SECONDS,
      includeTaskLocation: false,
      tags: [],
      strictTags: false,
    },
    importFile: (path) => loads.get(path)?.(),
    onBeforeTryTask() {
      expect.setState({
        assertionCalls: 0,
        isExpectingAssertions: false,
        expectedAssertionsNumber: null,
      });
    },
    onAfterTryTask(task) {
      if (task.result?.state === "fail") return;
      const { assertionCalls, isExpectingAssertions, expectedAssertionsNumber } = expect.getState();
      if (expectedAssertionsNumber !== null && expectedAssertionsNumber !== assertionCalls) {
        throw new Error(`${expectedAssertionsNumber} assertions expected, ${assertionCalls} made`);
      }
      if (isExpectingAssertions && assertionCalls === 0) throw new Error("no assertion was made");
    },
    onAfterRunTask: (task) => report(task, counts),
    onAfterRunSuite(suite) {
      for (const error of suite.result?.errors ?? []) {
        counts.fail += 1;
        print(`FAIL ${nameOf(suite)}\n${indent(error.stack ?? error.message)}`);
      }
    },
  };
  const started = await startTests([...loads.keys()], runner);
  countSkipped(started, counts);
  for (const file of started) {
    if (file.tasks.length > 0) continue;
    // A file that could not be loaded has no tests either: it must not pass for one that had nothing to say.
    counts.fail += 1;
    const errors = file.result?.errors ?? [];
    print(`FAIL ${file.name}: ${errors.length > 0 ? "it could not be loaded" : "no test in it"}`);
    for (const error of errors) print(indent(describe(error)));
  }
  print(`tests: ${counts.pass} passed, ${counts.fail} failed, ${counts.skip} skipped`);
  return counts.fail > 0 || counts.pass === 0 ? 1 : 0;
}

function report(task, counts) {
  const state = task.result?.state;
  const time = `${Math.round(task.result?.duration ?? 0)} ms`;
  if (state === "pass") {
    counts.pass += 1;
    print(`ok   ${nameOf(task)} (${time})`);
  } else if (state === "fail") {
    counts.fail += 1;
    print(`FAIL ${nameOf(task)} (${time})`);
    for (const error of task.result?.errors ?? []) print(indent(describe(error)));
  }
}

function describe(error) {
  const parts = [error.stack ?? `${error.name}: ${error.message}`];
  if (error.diff) parts.push(error.diff);
  return parts.join("\n");
}

/** Tests that were skipped or never reached, each named. */
function countSkipped(tasks, counts) {
  for (const task of tasks) {
    if (task.type === "suite") countSkipped(task.tasks, counts);
    else if (task.mode === "skip" || task.mode === "todo" || task.result?.state === "skip") {
      counts.skip += 1;
      print(`skip ${nameOf(task)}${task.result?.note ? `: ${task.result.note}` : ""}`);
    }
  }
}

function nameOf(task) {
  const names = [];
  for (let at = task; at !== undefined; at = at.suite) if (at.name) names.unshift(at.name);
  if (names[0] !== task.file?.name && task.file !== undefined) names.unshift(task.file.name);
  return names.join(" > ");
}

const indent = (text) => text.replace(/^/gm, "     ");
const print = (text) => process.stdout.write(`${text}\n`);
