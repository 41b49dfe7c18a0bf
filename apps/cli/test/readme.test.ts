import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { runCli } from "./run.js";

const root = fileURLToPath(new URL("../../../", import.meta.url));
const readme = readFileSync(`${root}README.md`, "utf8");

test("the README's sample of `why` is what the tool prints", async () => {
  const sample = /```text\n([\s\S]*?)\n```/.exec(readme)?.[1] ?? "no sample";
  const { out } = await runCli(
    "why",
    "1b:00.0",
    "1d:00.0",
    "-F",
    `${root}packages/p2pdma/captures/gpu-server-2s.json`,
  );
  expect(out.startsWith(sample)).toBe(true);
});

test("the README names every verb of the tool", async () => {
  const { out } = await runCli("--help");
  const verbs = [...out.matchAll(/^ {2}([a-z][a-z-]+)(?: |$)/gm)].map((match) => match[1] ?? "");
  expect(verbs.length).toBeGreaterThan(7);
  for (const verb of verbs) if (verb !== "help") expect(readme).toContain(`\`${verb}`);
});
