import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { run } from "../src/main.js";
import { verbs } from "../src/verbs.js";
import { bin, file, isBuilt, server, shell, shipped } from "./fixtures.js";
import { runCli } from "./run.js";

const withFile = verbs.filter((verb) =>
  verb.options.some((option) => option.flags.startsWith("-F")),
);

test.each(["--version", "-V"])("%s prints the version of package.json", async (option) => {
  const manifest = new URL("../package.json", import.meta.url);
  const { version } = JSON.parse(readFileSync(manifest, "utf8")) as { version: string };
  expect(await runCli(option)).toMatchObject({ code: 0, out: `${version}\n`, err: "" });
});

describe("every verb", () => {
  test.each(verbs.map((verb) => verb.name))("%s --help has usage and examples", async (name) => {
    const { code, out, err } = await runCli(name, "--help");
    expect([code, err]).toEqual([0, ""]);
    expect(out).toContain(`Usage: peerbar ${name}`);
    expect(out).toMatch(/Examples:\n {2}\S/);
  });

  test.each(verbs.map((verb) => verb.name))(
    "%s refuses an option that it does not have",
    async (name) => {
      const { code, out, err } = await runCli(name, "--no-such-option");
      expect([code, out]).toEqual([2, ""]);
      expect(err).toMatch(/^peerbar: EINVAL: unknown option [^\n]+\n$/);
    },
  );

  const bad = {
    empty: "",
    binary: new Uint8Array([0, 1, 2, 0xff]),
    text: "hello\nworld\n",
    "half a capture": '{"schemaVersion":1,"kind":"peerbar-capture","functions":[{"address":',
    "damaged gzip": new Uint8Array([0x1f, 0x8b, 8, 0, 0, 0]),
  };
  test.each(Object.keys(bad) as (keyof typeof bad)[])(
    "%s as -F: one line, exit 2, for every verb",
    async (kind) => {
      const path = file("bad", bad[kind]);
      for (const verb of withFile) {
        const args = (verb.arguments ?? []).map(() => "1b:00.0");
        const { code, out, err } = await runCli(verb.name, "-F", path, ...args);
        expect([verb.name, code, out]).toEqual([verb.name, 2, ""]);
        expect(err).toMatch(/^peerbar: E[A-Z]+: [^\n]+; [^\n]+\n$/);
      }
    },
  );

  test("a capture with an unknown schema version is refused", async () => {
    const path = file("v9.json", '{"schemaVersion":9,"kind":"peerbar-capture","functions":[]}');
    const { code, err } = await runCli("topo", "-F", path);
    expect(code).toBe(2);
    expect(err).toMatch(/^peerbar: EINVAL: [^\n]*9[^\n]*\n$/);
  });
});

describe("the tool as a whole", () => {
  test("an unknown verb: one line, exit 2", async () => {
    const { code, err } = await runCli("frobnicate");
    expect(code).toBe(2);
    expect(err).toMatch(
      /^peerbar: EINVAL: unknown command 'frobnicate'; see peerbar --help[^\n]*\n$/,
    );
  });

  test("help of an unknown verb: the same line, and help of a known one", async () => {
    const { code, out, err } = await runCli("help", "frobnicate");
    expect([code, out]).toEqual([2, ""]);
    expect(err).toBe((await runCli("frobnicate")).err);
    expect((await runCli("help", "why")).out).toBe((await runCli("why", "--help")).out);
    expect((await runCli("help")).out).toBe((await runCli("--help")).out);
  });

  test("colour only where the terminal has it, and the text is the same without", async () => {
    const plain = (await runCli("matrix", "-F", shipped, "--class", "gpu")).out;
    let painted = "";
    const out = (text: string): void => {
      painted += text;
    };
    await run(["matrix", "-F", shipped, "--class", "gpu"], {
      out,
      err: () => undefined,
      color: true,
      width: 100,
      env: {},
    });
    const control = String.fromCharCode(27);
    expect(plain).not.toContain(control);
    expect(painted).toContain(control);
    expect(painted.replaceAll(new RegExp(`${control}\\[\\d+m`, "g"), "")).toBe(plain);
  });
});

if (!isBuilt)
  console.log("skipped: apps/cli is not built, its process is not tested (`pnpm test` builds it)");
describe.skipIf(!isBuilt)("the built tool as a process", () => {
  test("exit codes: 0 yes, 1 no, 2 bad input", () => {
    const code = (...argv: string[]): number | null =>
      spawnSync(process.execPath, [bin, ...argv]).status;
    expect(code("why", "-F", shipped, "1b:00.0", "1c:00.0")).toBe(0);
    expect(code("why", "-F", shipped, "1b:00.0", "8d:00.0")).toBe(1);
    expect(code("why", "-F", "/nonexistent", "1b:00.0", "8d:00.0")).toBe(2);
  });

  test.skipIf(!existsSync("/dev/full"))("a full disk is no answer: one line, exit 2", () => {
    // The shell opens the device: the tool only inherits it.
    const text = shell(
      `'${process.execPath}' '${bin}' why -F '${shipped}' 1b:00.0 8d:00.0 2>&1 >/dev/full; echo "$?"`,
    );
    expect(text).toMatch(/^peerbar: ENOSPC: write: [^\n]+; [^\n]+\n2\n$/);
  });

  test("a reader that stops early is no failure", () => {
    const path = server({ vfs: 40 });
    const text = shell(
      `'${process.execPath}' '${bin}' matrix --json -F '${path}' | head -c 50; echo " \${PIPESTATUS[0]}" >&1`,
    );
    expect(text).toMatch(/^\{"schemaVersion":1[\s\S]{20,} 0\n$/);
  });
});
