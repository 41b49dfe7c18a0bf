import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { run } from "../src/main.js";
import { runCli } from "./run.js";

const root = fileURLToPath(new URL("../../../", import.meta.url));
const readme = readFileSync(`${root}README.md`, "utf8");

const samples = [...readme.matchAll(/^```console\n\$ peerbar (.*)\n([\s\S]*?)\n```$/gm)].map(
  ([, command = "", printed = ""]) => [command, printed] as const,
);

test("the README shows `why` and `matrix`", () => {
  expect(samples.map(([command]) => command.split(" ")[0]).sort()).toEqual(["matrix", "why"]);
});

test.each(samples)(
  "the README shows what the tool prints: peerbar %s",
  async (command, printed) => {
    let out = "";
    const io = {
      out: (text: string) => {
        out += text;
      },
      err: () => undefined,
      color: false,
      width: 100,
      env: { LANG: "C.UTF-8" },
    };
    await run(command.replace(/-F (\S+)/, `-F ${root}$1`).split(" "), io);
    expect(out.trimEnd()).toBe(printed);
  },
);

test("the README names every verb of the tool", async () => {
  const { out } = await runCli("--help");
  const verbs = [...out.matchAll(/^ {2}([a-z][a-z-]+)(?: |$)/gm)].map((match) => match[1] ?? "");
  expect(verbs.length).toBeGreaterThan(7);
  for (const verb of verbs) if (verb !== "help") expect(readme).toContain(`\`${verb}`);
});
