import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
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
