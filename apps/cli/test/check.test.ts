import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";
import { bin } from "./fixtures.js";
import { runCli } from "./run.js";

const fixture = (name: string): string =>
  fileURLToPath(new URL(`./fixtures/${name}`, import.meta.url));

test("a module whose subject passes: every case with its rule, exit 0", async () => {
  const { code, out, err } = await runCli("check", fixture("backends.subject.ts"));
  expect(err).toBe("");
  expect(out).toContain("a good backend");
  expect(code).toBe(0);
});

test("a subject that breaks a rule: the case is named, exit 1", async () => {
  const { code, out } = await runCli("check", fixture("forgets-faults.subject.ts"), "--json");
  expect(code).toBe(1);
  const { reports } = JSON.parse(out) as {
    reports: { failed: number; cases: { id: string; status: string; rules: string }[] }[];
  };
  const failed = reports.flatMap(({ cases }) => cases.filter(({ status }) => status === "failed"));
  expect(reports.map((report) => report.failed)).toEqual([failed.length]);
  expect(failed.length).toBeGreaterThan(0);
  for (const { rules } of failed) expect(rules).toMatch(/R\d+/);
});

test.each([
  ["a module that is not there", "nonexistent.js", "cannot be loaded"],
  ["a module without a subject", "../run.ts", "exports no conformance subject"],
])("%s: one line, exit 2", async (_name, path, reason) => {
  const { code, out, err } = await runCli("check", fixture(path));
  expect(out).toBe("");
  expect(err).toMatch(/^peerbar: EINVAL: check: [^\n]+\n$/);
  expect(err).toContain(reason);
  expect(code).toBe(2);
});

const place = mkdtempSync(join(tmpdir(), "peerbar-check-"));
afterAll(() => {
  rmSync(place, { recursive: true });
});

function moduleOf(name: string, code: string): string {
  const file = join(place, `${name}.mjs`);
  writeFileSync(file, code);
  return file;
}

const subject = (capabilities: string, setup = "() => ({})"): string =>
  `export const s = { role: "backend", name: "mine", capabilities: ${capabilities}, setup: ${setup} };`;

test("a capability that there is not is refused: its cases would be left out without a word", async () => {
  const { code, out, err } = await runCli("check", moduleOf("typo", subject('["portz"]')));
  expect(out).toBe("");
  expect(err).toMatch(
    /^peerbar: EINVAL: check: mine claims what no backend has: "portz"; [^\n]+\n$/,
  );
  expect(err).toContain("ports");
  expect(code).toBe(2);
});

test("a subject that passes no case is not fine", async () => {
  const gaps = `Object.fromEntries(ids.map((id) => [id, "not yet"]))`;
  const code = `import { backendCases } from ${JSON.stringify(
    new URL("../../../packages/conformance/src/index.ts", import.meta.url).href,
  )};
const ids = backendCases.filter(({ needs = [] }) => needs.length === 0).map(({ id }) => id);
export const s = { role: "backend", name: "mine", capabilities: [], knownGaps: ${gaps}, setup: () => ({}) };`;
  const { code: exit, err } = await runCli("check", moduleOf("nothing", code));
  expect(err).toBe('peerbar: check: no case passed for "mine": nothing is proven\n');
  expect(exit).toBe(1);
});

// In a process of its own, which the module ends.
test.runIf(existsSync(new URL("../dist/main.js", import.meta.url))).each([
  ["ends the process while it loads", "process.exit(0);"],
  ["never finishes loading", `await new Promise(() => {}); ${subject("[]")}`],
  ["has a setup that never ends", subject('["phys"]', "() => new Promise(() => {})")],
])("a module that %s: one line, exit 2", async (name, code) => {
  const file = moduleOf(name.replaceAll(" ", "-"), code);
  const done = await new Promise<{ code: unknown; err: string }>((resolve) => {
    execFile(process.execPath, [bin, "check", file], (error, _out, err) => {
      resolve({ code: error?.code ?? 0, err });
    });
  });
  expect(done.err).toMatch(/^peerbar: EINVAL: check: [^\n]+ ended the process before [^\n]+\n$/);
  expect(done.code).toBe(2);
});
