import { execFileSync } from "node:child_process";
import { appendFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { generateServer, toCapture } from "@peerbar/p2pdma";
import { beforeAll, describe, expect, it } from "vitest";
import { scratch } from "./fixtures.js";
import { runCli } from "./run.js";

const bin = fileURLToPath(new URL("../bin/peerbar.js", import.meta.url));

type Functions = Record<string, unknown>[];

/** One node of the fleet: the generated server under another name, with what `edit` does to it. */
function node(name: string, edit?: (functions: Functions) => Functions): string {
  const capture = JSON.parse(toCapture(generateServer({ name, vfs: 1 }))) as {
    functions: Functions;
  };
  const functions = edit === undefined ? capture.functions : edit(capture.functions);
  return JSON.stringify({ ...capture, functions });
}

const at = (address: string, change: Record<string, unknown>) => (functions: Functions) =>
  functions.map((fn) => (fn.address === address ? { ...fn, ...change } : fn));
const redirecting = at("0000:1a:00.0", { acs: { control: "0x0004", capability: "0x005f" } });
const blind = at("0000:1a:00.0", { acs: { unknown: "no privilege" } });
const withoutCard = (functions: Functions): Functions =>
  functions.filter(({ address }) => address !== "0000:03:00.0");

/** Twelve nodes: eight alike, two that redirect, one that lost a drive, one captured without privilege. */
function fleet(): string {
  const directory = scratch();
  for (let i = 0; i < 12; i += 1) {
    const rack = join(directory, `rack${String(i % 3)}`);
    mkdirSync(rack, { recursive: true });
    const edit =
      i === 4 || i === 7 ? redirecting : i === 9 ? withoutCard : i === 11 ? blind : undefined;
    const name = `node${String(i).padStart(2, "0")}`;
    writeFileSync(join(rack, `${name}.json`), node(name, edit));
  }
  return directory;
}

interface Line {
  readonly type: string;
  readonly path?: string;
  readonly captures?: number;
  readonly [key: string]: unknown;
}
const linesOf = (out: string): Line[] =>
  out
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Line);

/** What a fleet's report says, without which thread or ledger said it first. */
const said = (out: string): unknown[] =>
  linesOf(out)
    .filter(({ type }) => type !== "audit")
    .map((line) => JSON.stringify(line))
    .sort();

describe("audit", () => {
  let captures = "";
  beforeAll(() => {
    captures = fleet();
  });

  it("names what differs, where, and which pairs answer otherwise because of it", async () => {
    const { code, out, err } = await runCli("audit", captures);
    expect([code, err]).toEqual([1, ""]);
    const text = out.replaceAll(/\s+/g, " ");
    expect(text).toContain("12 captures, 8 alike: 9 GPU, 5 NVMe, 4 NIC (rack0/node00.json)");
    expect(text).toContain(
      "2 differ: rack1/node04.json rack1/node07.json 0000:1a:00.0 switch down: ACS !RR instead of off so 6 pairs answer otherwise: 6 bus-addr to thru-host-bridge",
    );
    expect(text).toMatch(/1 differs: rack0\/node09.json 0000:03:00.0 NVMe [^:]*: missing/);
    expect(text).toMatch(
      /1 cannot be told: rack2\/node11.json 0000:1a:00.0 switch down: ACS not shown; off in its class/,
    );
    expect(text).toMatch(/12 captures, 1 class, 3 differ from the class, 1 cannot be told/);
  });

  it("cannot tell where all are alike in showing too little", async () => {
    const directory = scratch();
    for (const name of ["a", "b"])
      writeFileSync(join(directory, `${name}.json`), node(name, blind));
    const { code, out } = await runCli("audit", directory);
    expect(code).toBe(3);
    expect(out).toContain("the ACS of 1 function is not shown in 2 that are alike");
    expect(out).toMatch(/2 captures, 1 class, 0 differ from the class, 2 cannot be told/);
    const json = await runCli("audit", directory, "--json");
    expect(json.code).toBe(3);
    expect(linesOf(json.out).at(-1)).toMatchObject({ differ: 0, cannotTell: 2 });
    // A reference that shows no more does not settle it.
    const given = await runCli("audit", directory, "--reference", join(directory, "a.json"));
    expect(given.code).toBe(3);
  });

  it("says yes where all are alike, and cannot tell where only something is not shown", async () => {
    const alike = ["rack0/node00.json", "rack1/node01.json"].map((name) => join(captures, name));
    expect((await runCli("audit", ...alike)).code).toBe(0);
    const dark = await runCli("audit", ...alike, join(captures, "rack2/node11.json"));
    expect(dark.code).toBe(3);
  });

  it("takes directories, patterns and files, each capture once", async () => {
    const count = async (...args: string[]): Promise<unknown> =>
      linesOf((await runCli("audit", "--json", ...args)).out)[0]?.captures;
    expect(await count(captures)).toBe(12);
    expect(await count(join(captures, "rack*/node0[0-4].json"))).toBe(5);
    expect(
      await count(captures, join(captures, "rack0"), join(captures, "rack0/node00.json")),
    ).toBe(12);
  });

  it("--json: a line for each class, difference and capture that differs, then the summary", async () => {
    const lines = linesOf((await runCli("audit", captures, "--json")).out);
    expect(lines[0]).toMatchObject({ type: "audit", schemaVersion: 1, captures: 12 });
    expect(lines.filter(({ type }) => type === "class")).toEqual([
      expect.objectContaining({ captures: 12, alike: 8, devices: "9 GPU, 5 NVMe, 4 NIC" }),
    ]);
    const differing = lines.filter(({ type }) => type === "capture").map(({ path }) => path);
    expect(differing.map((path) => path?.slice(captures.length + 1)).sort()).toEqual([
      "rack0/node09.json",
      "rack1/node04.json",
      "rack1/node07.json",
      "rack2/node11.json",
    ]);
    const [difference] = lines.filter(({ type, captures: n }) => type === "difference" && n === 2);
    expect(difference?.drifts).toEqual([
      expect.objectContaining({
        address: "0000:1a:00.0",
        name: "acs",
        expected: "0x0000",
        found: "0x0004",
      }),
    ]);
    expect(lines.at(-1)).toEqual({
      type: "summary",
      captures: 12,
      classes: 1,
      differ: 3,
      cannotTell: 1,
      unread: 0,
    });
  });

  it("goes on where a file is damaged, and tells which and why", async () => {
    const broken = fleet();
    writeFileSync(join(broken, "rack0/node00.json"), '{"schemaVersion": 1, "kind": "peerbar-capt');
    writeFileSync(join(broken, "rack0/notes.txt"), "bring coffee\n");
    const { code, out } = await runCli("audit", broken);
    expect(code).toBe(1);
    expect(out).toMatch(/not read: EINVAL: .*node00\.json/);
    expect(out).toMatch(/not read: .*notes\.txt/);
    expect(out.replaceAll(/\s+/g, " ")).toContain("2 files could not be read");
  });

  it("--reference: all are compared with one machine, whatever most of them are", async () => {
    const reference = join(captures, "rack1/node04.json");
    const lines = linesOf(
      (await runCli("audit", captures, "--json", "--reference", reference)).out,
    );
    expect(lines.filter(({ type }) => type === "class")).toEqual([
      expect.objectContaining({ captures: 12, alike: 2, reference }),
    ]);
    expect(lines.at(-1)).toMatchObject({ differ: 9, cannotTell: 1 });
    const one = await runCli("audit", reference, "--reference", reference);
    expect(one.code).toBe(0);
    const other = await runCli(
      "audit",
      join(captures, "rack0/node00.json"),
      "--reference",
      reference,
    );
    expect(other.code).toBe(1);
    expect(other.out).toContain("0000:1a:00.0 switch down: ACS off instead of !RR");
  });

  it("a ledger: a second run reads only what is new or changed, and forgets what is gone", async () => {
    const own = fleet();
    const ledger = join(scratch(), "ledger.jsonl");
    const captureLines = (): number =>
      readFileSync(ledger, "utf8").match(/"type":"capture"/g)?.length ?? 0;
    const first = await runCli("audit", own, "--ledger", ledger, "--json");
    expect(captureLines()).toBe(12);
    const second = await runCli("audit", own, "--ledger", ledger, "--json");
    expect(captureLines()).toBe(12);
    expect(second).toEqual(first);
    // A write that was cut off by a crash is dropped, and one changed file is read again.
    appendFileSync(ledger, '{"type":"capture","path":"/half');
    writeFileSync(join(own, "rack1/node04.json"), `${node("node04")}\n`);
    const third = await runCli("audit", own, "--ledger", ledger, "--json");
    expect(captureLines()).toBe(13);
    expect(linesOf(third.out).at(-1)).toMatchObject({ captures: 12, differ: 2 });
    const part = await runCli("audit", join(own, "rack2"), "--ledger", ledger, "--json");
    expect(linesOf(part.out)[0]).toMatchObject({ captures: 4 });
  });

  it("a ledger whose head was cut off is begun anew; a file that is none stays as it is", async () => {
    const capture = join(captures, "rack0/node00.json");
    const ledger = join(scratch(), "ledger.jsonl");
    for (const cut of ["", '{"type":"led']) {
      writeFileSync(ledger, cut);
      expect((await runCli("audit", capture, "--ledger", ledger)).code).toBe(0);
      expect(linesOf(readFileSync(ledger, "utf8"))[0]?.type).toBe("ledger");
    }
    // Neither has a line feed, which every line of a ledger ends with.
    for (const other of ["a note", node("node00")]) {
      writeFileSync(ledger, other);
      const refused = await runCli("audit", capture, "--ledger", ledger);
      expect([refused.code, refused.err]).toEqual([2, expect.stringContaining("is no ledger")]);
      expect(readFileSync(ledger, "utf8")).toBe(other);
    }
  });

  it("shards cover every capture once, and their ledgers merge to the whole", async () => {
    const ledgers: string[] = [];
    const seen: string[] = [];
    for (const index of [0, 1, 2]) {
      const ledger = join(scratch(), `${String(index)}.jsonl`);
      ledgers.push(ledger);
      await runCli("audit", captures, "--shard", `${String(index)}/3`, "--ledger", ledger);
      for (const line of linesOf(readFileSync(ledger, "utf8"))) {
        if (line.type === "capture") seen.push(line.path ?? "");
      }
    }
    expect(new Set(seen).size).toBe(12);
    expect(seen).toHaveLength(12);
    const merged = await runCli("audit", "--merge", ...ledgers, "--json");
    const whole = await runCli("audit", captures, "--json");
    expect(merged.code).toBe(1);
    // The first capture of a kind may be another one: names aside, both say the same.
    const nameless = (out: string): unknown[] =>
      said(out.replaceAll(/"reference":"[^"]*"/g, '"reference":""'));
    expect(nameless(merged.out)).toEqual(nameless(whole.out));
  });

  it("reads in threads, with the same result", async () => {
    const run = (...args: string[]): { code: number; out: string } => {
      try {
        return {
          code: 0,
          out: execFileSync(process.execPath, [bin, ...args], { encoding: "utf8" }),
        };
      } catch (error) {
        const { status, stdout } = error as { status: number; stdout: string };
        return { code: status, out: stdout };
      }
    };
    const threads = run("audit", captures, "--json", "--jobs", "2");
    expect(linesOf(threads.out)[0]).toMatchObject({ jobs: 2 });
    expect(threads.code).toBe(1);
    expect(said(threads.out)).toEqual(said((await runCli("audit", captures, "--json")).out));
  });

  it.each([
    [[], "EINVAL", "no captures were named"],
    [["/nonexistent"], "ENOENT", "there is no /nonexistent"],
    [["/tmp/none-*.json"], "ENOENT", "no file matches"],
    [[".", "--shard", "3/3"], "EINVAL", "is no shard"],
    [[".", "--reference", "/nonexistent"], "EINVAL", "/nonexistent"],
    [[".", "--jobs", "many"], "EINVAL", "is no number of threads"],
    [["--merge", bin], "EINVAL", "is no ledger of an audit"],
    [["--merge", "/nonexistent.jsonl"], "ENOENT", "/nonexistent.jsonl"],
    [["--merge", bin, "--shard", "0/2"], "EINVAL", "takes no --ledger or --shard"],
    [[".", "--ledger", "/nonexistent/x.jsonl"], "ENOENT", "/nonexistent/x.jsonl"],
    [[".", "--ledger", "/"], "EINVAL", "/: EISDIR"],
  ])("refuses %j", async (args, code, reason) => {
    const result = await runCli("audit", ...args);
    expect(result.code).toBe(2);
    expect(result.err).toContain(`peerbar: ${code}: `);
    expect(result.err).toContain(reason);
    expect(result.err.trimEnd().split("\n")).toHaveLength(1);
  });
});
