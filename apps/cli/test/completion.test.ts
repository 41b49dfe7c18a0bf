import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { complete } from "../src/complete.js";
import { verbs } from "../src/verbs.js";
import { shell, shipped } from "./fixtures.js";
import { runCli } from "./run.js";

async function offered(...words: string[]): Promise<string[]> {
  const text = await complete(words);
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => line.split("\t")[0] ?? "");
}

function has(name: string): boolean {
  return spawnSync(name, ["--version"], { stdio: "ignore" }).error === undefined;
}

/** For the title of a test that needs a shell. */
function missing(name: string): string {
  return has(name) ? "" : ` (skipped: ${name} is not installed)`;
}

describe("what shells are offered", () => {
  test("verbs", async () => {
    expect(await offered("")).toEqual(verbs.map((verb) => verb.name));
    expect(await offered("wh")).toEqual(["why", "what-if"]);
    expect(await offered("--debug", "cap")).toEqual(["capture"]);
  });

  test("every flag of every verb, as its --help has it", async () => {
    for (const verb of verbs) {
      const flags = await offered(verb.name, "--");
      const { out } = await runCli(verb.name, "--help");
      for (const flag of flags) expect(out).toContain(flag);
      for (const match of out.matchAll(/^ {2}(?:-\w, )?(--[a-z-]+)/gm)) {
        if (match[1] !== "--debug") expect(flags).toContain(match[1]);
      }
    }
  });

  test("functions of -F FILE, by address and by name, with or without the domain", async () => {
    expect(await offered("why", "-F", shipped, "0000:1b")).toEqual(["0000:1b:00.0"]);
    expect(await offered("why", "-F", shipped, "1b")).toEqual(["0000:1b:00.0"]);
    expect(await offered("why", "-F", shipped, "1b:")).toEqual(["1b:00.0"]);
    expect(await offered("why", `--file=${shipped}`, "0000:1b:00.0", "mlx5_0")).toEqual(["mlx5_0"]);
    expect(await offered("why", "-F", shipped, "a", "b", "--a")).toEqual(["--ascii"]);
  });

  test("values of options", async () => {
    expect(await offered("matrix", "--class", "gpu,n")).toEqual(["gpu,nic", "gpu,nvme"]);
    expect(await offered("matrix", "--cpu", "amd")).toEqual(["amd-zen", "amd-old"]);
    expect(await offered("what-if", "--iommu=o")).toEqual(["--iommu=off", "--iommu=on"]);
    expect(await offered("what-if", "-F", shipped, "--acs", "0000:52:00.0=o")).toEqual([
      "0000:52:00.0=off",
      "0000:52:00.0=on",
    ]);
    expect(await offered("what-if", "-F", shipped, "--acs", "0000:52:00.0=off,0000:52:01")).toEqual(
      ["0000:52:00.0=off,0000:52:01.0="],
    );
    expect(await offered("topo", "-F", "")).toEqual([":files"]);
    expect(await offered("doctor", "--root", "")).toEqual([":directories"]);
  });

  test("nothing, without a word, where there is nothing to say", async () => {
    expect(await offered("nosuchverb", "")).toEqual([]);
    expect(await offered("why", "-F", "/nonexistent", "")).toEqual([]);
    expect(await offered()).toEqual(verbs.map((verb) => verb.name));
  });
});

describe("scripts", () => {
  test.each(["bash", "zsh", "fish"])("%s: calls __complete", async (name) => {
    const { out, code } = await runCli("completion", name);
    expect(code).toBe(0);
    expect(out).toContain("__complete");
  });

  test("bash takes what readline leaves: only what follows the last colon or equals sign is replaced", async () => {
    const { out: script } = await runCli("completion", "bash");
    const answers: readonly (readonly [string, string, string])[] = [
      ["peerbar why 0000:1b:", "0000:1b:00.0\\tname\\n", "00.0"],
      ["peerbar what-if --acs 0000:52:00.0=o", "0000:52:00.0=off\\n0000:52:00.0=on\\n", "off on"],
      ["peerbar wh", "why\\tx\\nwhat-if\\ty\\n", "why what-if"],
      ["peerbar what-if --iommu=o", "--iommu=off\\n--iommu=on\\n", "off on"],
    ];
    for (const [line, answer, wanted] of answers) {
      const reply = shell(
        `peerbar() { printf -- '${answer}'; }\n${script}\nCOMP_LINE='${line}'; COMP_POINT=\${#COMP_LINE}; _peerbar; echo "\${COMPREPLY[*]}"`,
      );
      expect(reply.trim()).toBe(wanted);
    }
  });

  const fish = has("fish");
  test.skipIf(!fish)(`fish offers verbs, flags, values and files${missing("fish")}`, async () => {
    const { out: script } = await runCli("completion", "fish");
    const folder = mkdtempSync(join(tmpdir(), "peerbar-fish-"));
    const program = join(folder, "peerbar");
    const cases: readonly (readonly [string, readonly string[]])[] = [
      ["peerbar wh", ["why", "what-if"]],
      ["peerbar why --cp", ["--cpu"]],
      ["peerbar why --cpu amd", ["amd-zen", "amd-old"]],
      ["peerbar capture -o ", ["one file"]],
    ];
    try {
      for (const [line, wanted] of cases) {
        const words = line.split(" ").slice(1);
        const answer = await complete(words);
        writeFileSync(program, `#!/bin/sh\nprintf '%s' '${answer}'\n`, { mode: 0o755 });
        writeFileSync(join(folder, "one file"), "");
        const ran = spawnSync("fish", ["--no-config", "-c", `${script}\ncomplete -C '${line}'`], {
          cwd: folder,
          env: { PATH: `${folder}:${process.env.PATH ?? ""}`, HOME: folder },
          encoding: "utf8",
        });
        const found = ran.stdout.split("\n").filter((text) => text !== "" && text !== "peerbar");
        const names = found.map((text) => (text.split("\t")[0] ?? "").replaceAll("\\", ""));
        expect(names.sort(), ran.stderr).toEqual([...wanted].sort());
      }
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });

  test.skipIf(!has("zsh"))(`zsh takes the script${missing("zsh")}`, async () => {
    const { out: script } = await runCli("completion", "zsh");
    const ran = spawnSync("zsh", ["-n"], { input: script, encoding: "utf8" });
    expect(ran.stderr).toBe("");
    expect(ran.status).toBe(0);
  });

  test("another shell: one line, exit 2", async () => {
    const { code, err } = await runCli("completion", "tcsh");
    expect(code).toBe(2);
    expect(err).toMatch(/^peerbar: EINVAL: completion: [^\n]+; [^\n]+\n$/);
  });
});
