import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { runCli } from "./run.js";

const roles = ["importer", "exporter", "backend"] as const;
const read = (path: string): string => readFileSync(path, "utf8");
let place = "";
beforeEach(() => {
  place = mkdtempSync(join(tmpdir(), "peerbar-new-"));
});
afterEach(() => {
  rmSync(place, { recursive: true });
});

const made = async (role: string, name: string, folder: string) =>
  runCli("new", role, name, "--directory", folder);

describe.each(roles)("peerbar new %s", (role) => {
  test("writes a whole project with the name in it", async () => {
    const folder = join(place, "mine");
    const { code, out } = await made(role, "@me/mine", folder);
    expect(code).toBe(0);
    expect(out).toContain("npm install");
    const files = readdirSync(folder, { recursive: true });
    for (const file of [".gitignore", "README.md", "tsconfig.json", `src/${role}.ts`]) {
      expect(files).toContain(file);
    }
    const manifest = JSON.parse(read(join(folder, "package.json"))) as Record<string, unknown>;
    expect(manifest).toMatchObject({ name: "@me/mine" });
    const own = JSON.parse(read(new URL("../package.json", import.meta.url).pathname)) as {
      readonly version: string;
    };
    expect(manifest.dependencies).toEqual({ "@peerbar/core": `^${own.version}` });
    const text = readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => read(join(entry.parentPath, entry.name)))
      .join("\n");
    expect(text).not.toMatch(/__[A-Z]+__/);
  });

  test("starts from the code that the guide shows", () => {
    const article = role === "backend" ? "a" : "an";
    const guide = new URL(`../../../docs/writing-${article}-${role}.md`, import.meta.url).pathname;
    const template = new URL(`../templates/${role}/src/${role}.ts`, import.meta.url).pathname;
    expect(read(guide)).toContain(read(template));
  });
});

test("an empty folder is fine, one with something in it is left alone", async () => {
  expect((await made("importer", "mine", place)).code).toBe(0);
  rmSync(place, { recursive: true });
  const folder = mkdtempSync(join(tmpdir(), "peerbar-new-"));
  writeFileSync(join(folder, "thesis.txt"), "mine");
  const { code, out, err } = await made("importer", "mine", folder);
  expect(code).toBe(2);
  expect(out).toBe("");
  expect(err).toMatch(/^peerbar: EEXIST: new: .* is not empty; .*nothing was written\n$/);
  expect(readdirSync(folder)).toEqual(["thesis.txt"]);
  place = folder;
});

test("a file where the folder should be", async () => {
  const file = join(place, "file");
  writeFileSync(file, "mine");
  const { code, err } = await made("importer", "mine", file);
  expect(code).toBe(2);
  expect(err).toContain("EEXIST");
  expect(read(file)).toBe("mine");
});

test.each([
  "Mine",
  "a b",
  "",
  "../x",
  "@me",
  "@me/",
  ".mine",
  "_mine",
  "node_modules",
  "x".repeat(215),
])("%j is no name for a package, and nothing is made", async (name) => {
  const folder = join(place, "mine");
  const { code, err } = await made("importer", name, folder);
  expect(code).toBe(2);
  expect(err).toContain("is no package name");
  expect(existsSync(folder)).toBe(false);
});

test("a place where no folder can be made is refused, /proc too", async () => {
  const { code, err } = await made("importer", "mine", "/proc/peerbar/mine");
  expect(code).toBe(2);
  expect(err).toMatch(
    /^peerbar: EINVAL: new: \/proc\/peerbar\/mine cannot be made \(ENOENT\); [^\n]+\n$/,
  );
});

test("an unknown role is answered with those there are", async () => {
  const { code, err } = await made("driver", "mine", join(place, "mine"));
  expect(code).toBe(2);
  expect(err).toContain("choose one of importer, exporter, backend");
  expect(readdirSync(place)).toEqual([]);
});
