import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type BuildOptions, build } from "esbuild";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { runCli } from "./run.js";

const fixture = (name: string): string =>
  fileURLToPath(new URL(`./fixtures/explore/${name}.scenarios.ts`, import.meta.url));
const updates = fixture("lost-update");

interface Json {
  readonly explorations: readonly {
    readonly scenario: string;
    readonly verdict: string;
    readonly interleavings: number;
    readonly shards: { readonly count: number; readonly done: readonly number[] };
    readonly failures: readonly { readonly kind: string; readonly schedule: string }[];
  }[];
}

async function json(...argv: string[]): Promise<{ code: number; parsed: Json }> {
  const { code, out, err } = await runCli("explore", ...argv, "--json");
  expect(err).toBe("");
  return { code, parsed: JSON.parse(out) as Json };
}

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "peerbar-explore-"));
});
afterAll(() => rm(folder, { recursive: true }));

describe("what is found", () => {
  test("a failure: its schedule repeats it step by step, exit 1", async () => {
    const { code, out, err } = await runCli("explore", updates);
    expect(err).toBe("");
    expect(code).toBe(1);
    expect(out).toContain("an update under a lock: proven: every order was run");
    expect(out).toContain("check-failed: check: Error: count is 1");
    const schedule = /--replay '(\w+)'/.exec(out)?.[1] ?? "";
    const again = await runCli("explore", updates, "--only", "lost", "--replay", schedule);
    expect(again.code).toBe(1);
    expect(again.out).toContain("  2  b two: start two");
    expect(again.out).toContain("check-failed: check: Error: count is 1");
    const fine = await runCli("explore", updates, "--only", "lost", "--replay", "");
    expect(fine.code).toBe(0);
    expect(fine.out).toContain("no failure in this order");
  });

  test("on the simulated machine: a mapping that goes while a NIC writes, and none where the driver waits", async () => {
    const { code, out, err } = await runCli("explore", fixture("dma-after-unmap"));
    expect(err).toBe("");
    expect(code).toBe(1);
    expect(out).toContain("actor-failed: nic: Error: iommu-fault after");
    expect(out).toContain("the mapping goes once the NIC is done: proven: every order was run");
  });

  test("an endless run: both its ends, and a command that a shell takes and that means this scenario alone", async () => {
    const polling = fixture("polling");
    const { code, out } = await runCli("explore", polling);
    expect(code).toBe(1);
    expect(out).toContain("livelock: no end after 10000 steps");
    expect(out.split("\n").length).toBeLessThan(80);
    expect(out).toContain("... 9960 steps; --json has all");
    expect(out).toContain(`--only 'it'\\''s polling' --replay ''`);
    const again = await runCli("explore", polling, "--only", "it's polling", "--replay", "");
    expect([again.code, again.err]).toEqual([1, ""]);
  });

  test("nothing: exit 0, and no more is said than is known", async () => {
    const all = await runCli("explore", updates, "--only", "under a lock");
    expect(all.code).toBe(0);
    expect(all.out).toContain("proven: every order was run");
    const bounded = await runCli("explore", updates, "--only", "under a lock", "--bound", "1");
    expect(bounded.out).toContain("proven up to 1 preemption: every such order was run");
    const some = await runCli(
      "explore",
      updates,
      "--only",
      "lock",
      "--strategy",
      "random",
      "--runs",
      "9",
    );
    expect(some.out).toContain("no failure found; not every order was run");
    expect(some.out).toContain("9 interleavings run");
  });
});

describe("peerbar's own exporter and importers", () => {
  test("are right in every order of a close", async () => {
    const { code, parsed } = await json("--only", "close");
    expect(code).toBe(0);
    expect(parsed.explorations.map(({ scenario, verdict }) => [scenario, verdict])).toEqual([
      ["close, rdma and iommufd", "exhausted"],
      ["close and rdma page faults", "exhausted"],
    ]);
    expect(parsed.explorations[0]?.interleavings).toBeGreaterThan(100);
  }, 120_000);

  test.each(["reset", "memory off and on"])(
    "are right in every order of a %s with one preemption",
    async (trigger) => {
      const { code, parsed } = await json("--only", trigger, "--bound", "1");
      expect(code).toBe(0);
      expect(parsed.explorations.map(({ verdict }) => verdict)).toEqual([
        "proven-to-bound",
        "proven-to-bound",
      ]);
    },
    120_000,
  );
});

test("shards merge into the whole, in any order; a missing one proves nothing", async () => {
  const whole = await json(updates, "--only", "under a lock");
  const paths: string[] = [];
  for (const shard of ["0/3", "1/3", "2/3"]) {
    const { out } = await runCli("explore", updates, "--only", "lock", "--shard", shard, "--json");
    const path = join(folder, `${shard.replace("/", "-")}.json`);
    await writeFile(path, out);
    paths.unshift(path);
  }
  const merged = await json("--merge", ...paths);
  const [one] = merged.parsed.explorations;
  expect(one?.interleavings).toBe(whole.parsed.explorations[0]?.interleavings);
  expect(one).toMatchObject({ verdict: "exhausted", shards: { count: 3, done: [0, 1, 2] } });
  expect(merged.code).toBe(0);
  const part = await json("--merge", ...paths.slice(1));
  expect(part.parsed.explorations[0]?.verdict).toBe("not-exhausted");
  const twice = await runCli("explore", "--merge", paths[0] ?? "", paths[0] ?? "");
  expect(twice.err).toMatch(/^peerbar: EINVAL: explore: [^\n]*shard 2 comes twice\n$/);
  expect(twice.code).toBe(2);
});

describe("bad input is one line and exit 2", () => {
  test.each([
    ["a module that is not there", ["nonexistent.js"], "cannot be loaded"],
    [
      "a module without a scenario",
      [fileURLToPath(new URL("./run.ts", import.meta.url))],
      "no scenario",
    ],
    ["no scenario of that name", [updates, "--only", "zzz"], "no scenario like"],
    ["a strategy that is none", [updates, "--strategy", "luck"], 'no strategy "luck"'],
    ["a bound that is none", [updates, "--bound", "-1"], "no whole number"],
    [
      "a bound for random orders",
      [updates, "--strategy", "random", "--bound", "1"],
      "a bound is for",
    ],
    ["a shard that is none", [updates, "--shard", "3/3"], "no shard"],
    ["a schedule that is none", [updates, "--only", "lost", "--replay", "a!"], "is no schedule"],
    [
      "a schedule of another scenario",
      [updates, "--only", "lost", "--replay", "abcd"],
      "not of this scenario",
    ],
    ["a schedule for two scenarios", [updates, "--replay", "ab"], "choose with --only"],
    ["two scenarios of one name", [fixture("one-name")], 'two scenarios "of one name"'],
    ["results that are none", ["--merge", updates], "cannot be read"],
    ["results of nothing", ["--merge"], "nothing to join"],
    ["no order at all", [updates, "--runs", "0"], "--runs 0 would try nothing"],
    ["no failure at all", [updates, "--failures", "0"], "--failures 0 would try nothing"],
  ])("%s", async (_name, argv, reason) => {
    const { code, out, err } = await runCli("explore", ...argv);
    expect(out).toBe("");
    expect(err).toMatch(/^peerbar: EINVAL: explore: [^\n]+\n$/);
    expect(err).toContain(reason);
    expect(code).toBe(2);
  });
});

test("a step or an import that never ends is given up, not waited for", async () => {
  const options = {
    bundle: true,
    platform: "node",
    format: "esm",
    conditions: ["@peerbar/source"],
    logLevel: "silent",
  } satisfies BuildOptions;
  const source = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
  await build({
    ...options,
    entryPoints: {
      thread: source("../src/explore/thread.ts"),
      "explore-worker": source("../src/explore/worker.ts"),
      endless: fixture("endless"),
    },
    outdir: folder,
    outExtension: { ".js": ".mjs" },
  });
  // The thread looks for its script under the name it has in the package.
  await writeFile(join(folder, "package.json"), '{"type":"module"}');
  await writeFile(
    join(folder, "explore-worker.js"),
    await readFile(join(folder, "explore-worker.mjs")),
  );
  await writeFile(join(folder, "waits.mjs"), "await new Promise(() => setInterval(() => {}, 50));");
  const requests = ["endless.mjs", "waits.mjs"].map((file) => ({
    file: join(folder, file),
    options: {},
  }));
  const script = `
    import { runInThread } from ${JSON.stringify(join(folder, "thread.mjs"))};
    for (const request of ${JSON.stringify(requests)}) {
      await runInThread(request, 3, () => {}, new AbortController().signal).catch((error) => {
        console.log(error.code, error.reason);
      });
    }`;
  await writeFile(join(folder, "main.mjs"), script);
  const printed = await new Promise<string>((resolve) => {
    execFile(process.execPath, [join(folder, "main.mjs")], (_error, out) => {
      resolve(out);
    });
  });
  expect(printed).toContain("ETIMEDOUT");
  expect(printed).toContain("a step has not ended for 3 s");
  expect(printed).toContain("waits.mjs is not loaded after 3 s");
}, 120_000);
