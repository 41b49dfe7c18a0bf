import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { EpisodeData } from "@peerbar/report";
import { writeTemplate } from "@peerbar/report/build";
import { beforeAll, describe, expect, test } from "vitest";
import { replayEpisode } from "../src/report/replay.js";
import { scratch } from "./fixtures.js";
import { runCli } from "./run.js";

const updates = fileURLToPath(
  new URL("./fixtures/explore/lost-update.scenarios.ts", import.meta.url),
);

beforeAll(async () => {
  await writeTemplate();
});

function episodeIn(page: string): EpisodeData {
  const html = readFileSync(page, "utf8");
  const json = /<script type="application\/json" id="report">([\s\S]*?)<\/script>/.exec(html)?.[1];
  return (JSON.parse(json ?? "{}") as { readonly episode: EpisodeData }).episode;
}

describe("peerbar explore --report", () => {
  test("the first failure's order, step by step, and a trace beside it", async () => {
    const page = join(scratch(), "lost.html");
    const { code, out } = await runCli("explore", updates, "--report", page);
    expect(code).toBe(1);
    expect(out).toContain(`report: ${page}`);
    const { title, ok, outcome, steps } = episodeIn(page);
    expect({ title, ok }).toEqual({ title: "a lost update", ok: false });
    expect(outcome).toContain("check-failed: check: Error: count is 1");
    expect(steps.map((step) => step.title).join(" ")).toContain("two: start two");
    const trace = JSON.parse(readFileSync(page.replace(".html", ".trace.json"), "utf8")) as object;
    expect(trace).toHaveProperty("traceEvents");
  });

  test("no failure: says so, and writes nothing", async () => {
    const page = join(scratch(), "fine.html");
    const { code, err } = await runCli(
      ...["explore", updates, "--only", "under a lock", "--report", page],
    );
    expect(code).toBe(0);
    expect(err).toContain("no --report is written");
    expect(existsSync(page)).toBe(false);
  });

  test("each event stands at its step; what comes before the first is the setting", () => {
    const event = { type: "lock" as const, lock: "r" };
    const episode = replayEpisode({
      scenario: "a scenario",
      trace: ["a: start", "b: start", "a: end"],
      events: [0, 1, 1, 3].map((step) => ({ step, event })),
      failure: undefined,
    });
    expect(episode.steps.map(({ title, first }) => [title, first])).toEqual([
      ["the setting", 0],
      ["a: start", 1],
      ["b: start", 3],
      ["a: end", 3],
    ]);
    expect(episode).toMatchObject({ ok: true, outcome: "no failure in this order" });
  });
});
