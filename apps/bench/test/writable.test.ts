import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { checkWritable } from "../src/writable.js";

const folder = mkdtempSync(join(tmpdir(), "peerbar-bench-test-"));
afterAll(() => {
  rmSync(folder, { recursive: true });
});

test("what can be written is left as it was", () => {
  const [fresh, old] = [join(folder, "fresh.json"), join(folder, "old.json")];
  writeFileSync(old, "kept");
  checkWritable(fresh);
  checkWritable(old);
  checkWritable("/dev/null");
  expect([existsSync(fresh), readFileSync(old, "utf8")]).toEqual([false, "kept"]);
});

test("a folder, and a file in one that is absent or none, are refused", () => {
  const file = join(folder, "file");
  writeFileSync(file, "");
  expect(() => checkWritable(folder)).toThrow("EISDIR");
  expect(() => checkWritable(join(folder, "absent", "x.json"))).toThrow("ENOENT");
  expect(() => checkWritable(join(file, "x.json"))).toThrow(/ENOTDIR/);
});
