import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, test, vi } from "vitest";
import { parseArguments } from "../src/arguments.mjs";
import { kernelAtHand } from "../src/cached.mjs";
import { commandJob, quote, testJob } from "../src/job.mjs";
import { machineByName } from "../src/machines.mjs";
import { verdict } from "../src/verdict.mjs";

describe("arguments", () => {
  test("files, with options before and after", () => {
    expect(
      parseArguments(["--machine", "roots", "a.test.ts", "b.test.ts", "--timeout", "9"]),
    ).toMatchObject({
      verb: "test",
      rest: ["a.test.ts", "b.test.ts"],
      machine: "roots",
      timeoutSeconds: 9,
    });
  });

  test("a command keeps its own options", () => {
    expect(parseArguments(["--console", "run", "ls", "-l", "--color"])).toMatchObject({
      verb: "run",
      rest: ["ls", "-l", "--color"],
      showConsole: true,
    });
  });

  test("bench says where its rounds go, and whether it may build", () => {
    expect(parseArguments(["bench"])).toMatchObject({
      verb: "bench",
      json: undefined,
      cached: false,
    });
    expect(parseArguments(["bench", "--json", "rounds.json", "--cached"])).toMatchObject({
      verb: "bench",
      json: "rounds.json",
      cached: true,
    });
  });

  test.each([
    [["bench", "--json"], /--json needs a value/],
    [["--machine"], /--machine needs a value/],
    [["--cpus", "none"], /--cpus is a whole number from 1 to 8/],
    [["--cpus", "99"], /from 1 to 8/],
    [["--accel", "hvf"], /auto, tcg or kvm/],
    [["--colour"], /unknown option --colour/],
    [["run"], /run what/],
    [["shell", "now"], /shell takes no now/],
  ])("%j is refused in one line", (words, text) => {
    expect(() => parseArguments(words)).toThrow(text);
    expect(() => parseArguments(words)).toThrow(expect.objectContaining({ exitCode: 2 }));
  });
});

describe("jobs", () => {
  test("words reach the command as they are", () => {
    expect(quote("a b")).toBe("'a b'");
    expect(quote("it's")).toBe("'it'\\''s'");
    expect(quote("/plain-1.0")).toBe("/plain-1.0");
    expect(commandJob(machineByName("switch"), ["echo", "$HOME x"], "/w d")).toContain(
      "cd '/w d' || exit 126\necho '$HOME x'\n",
    );
  });

  test("one word is a line of shell", () => {
    expect(commandJob(machineByName("switch"), ["lspci | wc -l"], "/")).toContain(
      "\nlspci | wc -l\n",
    );
  });

  test("tests know where they run", () => {
    const job = testJob(machineByName("roots"));
    expect(job).toContain("export PEERBAR_LAB=1\n");
    expect(job).toContain("export PEERBAR_LAB_MACHINE=roots\n");
    expect(job).toContain("\nnode --enable-source-maps /run/lab/tests/main.mjs\n");
  });
});

describe("a kernel at hand", () => {
  const cache = mkdtempSync(join(tmpdir(), "peerbar-lab-test-"));
  afterEach(() => {
    vi.unstubAllEnvs();
    rmSync(cache, { recursive: true, force: true });
  });

  test("is asked for without building: one line says what is missing and how to get it", async () => {
    vi.stubEnv("XDG_CACHE_HOME", cache);
    vi.stubEnv("KERNEL_IMAGE", "");
    vi.stubEnv("KERNEL_SRC", "");
    const refused = await kernelAtHand(["gcc"]).catch((error) => error);
    expect(refused).toMatchObject({ exitCode: 3 });
    expect(refused.message).toMatch(
      /^[^\n]*(pnpm lab build|apt-get install|this (host )?is )[^\n]*$/,
    );
  });
});

describe("verdict", () => {
  const good = {
    exitCode: 0,
    timedOut: false,
    console: ["last words"],
    findings: [],
    buffersLeft: 0,
    leftRunning: [],
    qemuErrors: "",
    seconds: 1,
  };
  const complaint = { kind: "warn", title: "WARNING: x", lines: ["WARNING: x", "Call Trace:"] };

  test("a job that ends well on a quiet kernel", () => {
    expect(verdict(good)).toEqual({ exitCode: 0, lines: [] });
  });

  test.each([
    ["the job's own code", { exitCode: 7 }, 7, undefined],
    ["a warning", { findings: [complaint] }, 1, /the kernel complained \(warn\): WARNING: x/],
    [
      "a warning does not hide the job's code",
      { exitCode: 7, findings: [complaint] },
      7,
      /complained/,
    ],
    ["a leaked buffer", { buffersLeft: 2 }, 1, /2 dma-buf\(s\) outlived the job/],
    ["no bufinfo", { buffersLeft: undefined }, 1, /left no dma_buf\/bufinfo/],
    [
      "a program left behind",
      { leftRunning: ["node x"] },
      1,
      /still running when the job ended: node x/,
    ],
    [
      "a time-out",
      { exitCode: undefined, buffersLeft: undefined, timedOut: true },
      124,
      /timed out/,
    ],
    [
      "a panic",
      { exitCode: undefined, buffersLeft: undefined, findings: [complaint] },
      1,
      /ended before the job did/,
    ],
    [
      "QEMU failing",
      { exitCode: undefined, buffersLeft: undefined, qemuErrors: "no such device" },
      3,
      /QEMU: no such device/,
    ],
  ])("%s", (_name, change, code, text) => {
    const { exitCode, lines } = verdict({ ...good, ...change });
    expect(exitCode).toBe(code);
    if (text !== undefined) expect(lines.join("\n")).toMatch(text);
  });
});
