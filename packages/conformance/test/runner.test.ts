import nodeTest from "node:test";
import {
  type ConformanceCase,
  check,
  equal,
  expectErrno,
  expectViolation,
  formatReport,
  registerSuite,
  runSuite,
  type Subject,
} from "@peerbar/conformance";
import { DmaBufError, ProtocolViolation } from "@peerbar/core";
import { describe, expect, it } from "vitest";

const cases: readonly ConformanceCase<number>[] = [
  { id: "a/positive", title: "it is positive", rules: "x R1", run: (n) => test(n > 0) },
  { id: "a/even", title: "it is even", rules: "x R2", run: (n) => test(n % 2 === 0) },
  { id: "a/rare", title: "needs more", rules: "x R3", needs: ["more"], run: () => test(false) },
  { id: "a/hangs", title: "never ends", rules: "x R4", run: () => new Promise(() => undefined) },
];

function test(good: boolean): Promise<void> {
  check(good, "it is not");
  return Promise.resolve();
}

const subject = (n: number, knownGaps: Record<string, string> = {}): Subject<number> => ({
  role: "exporter",
  name: `number ${String(n)}`,
  capabilities: [],
  knownGaps,
  setup: () => n,
});

describe("runSuite", () => {
  it("reports passes, failures, hangs, skips and known gaps, as JSON and for people", async () => {
    const report = await runSuite(cases, subject(3, { "a/even": "odd numbers are" }));
    expect(report.cases.map(({ id, status }) => `${id} ${status}`)).toEqual([
      "a/positive passed",
      "a/even known-gap",
      "a/rare skipped",
      "a/hangs failed",
    ]);
    expect(report.cases[3]?.detail).toBe("the case never finished");
    expect(JSON.parse(JSON.stringify(report))).toEqual(report);
    const text = formatReport(report);
    expect(text).toContain('number 3 has no "more"');
    expect(text).toContain("odd numbers are");
    expect(text).toMatch(/1 passed, 1 failed, 1 skipped, 1 known gaps\n$/);
  });

  it("fails a known gap that passes, and refuses one that names no case", async () => {
    const only = { only: "even" };
    const report = await runSuite(cases, subject(2, { "a/even": "outdated" }), only);
    expect(report.failed).toBe(1);
    expect(report.cases[0]?.detail).toContain("take it off the list");
    await expect(runSuite(cases, subject(2, { "a/evne": "typo" }))).rejects.toThrow(TypeError);
  });

  it("takes an exception of setup, and what is no Error, as failures", async () => {
    const broken = { ...subject(2), setup: () => Promise.reject(new Error("no memory")) };
    const report = await runSuite(cases, broken, { only: "even" });
    expect(report.cases[0]?.detail).toBe("Error: no memory");
  });
});

describe("registerSuite", () => {
  it("registers with any runner that has describe, it and it.skip", async () => {
    const names: string[] = [];
    const bodies: (() => Promise<void>)[] = [];
    const register = (name: string, body: () => Promise<void>): void => {
      names.push(name);
      bodies.push(body);
    };
    const skip = (name: string): void => {
      names.push(`skip ${name}`);
    };
    const api = {
      describe: (_name: string, body: () => void) => {
        body();
      },
      it: Object.assign(register, { skip }),
    };
    registerSuite(api, cases, subject(3, { "a/even": "odd" }));
    expect(names).toEqual([
      "a/positive: it is positive (x R1)",
      "a/even: it is even (x R2) [known gap: odd]",
      'skip a/rare: needs more (x R3) [number 3 has no "more"]',
      "a/hangs: never ends (x R4)",
    ]);
    await expect(bodies[0]?.()).resolves.toBeUndefined();
    await expect(bodies[1]?.()).resolves.toBeUndefined();
    await expect(bodies[2]?.()).rejects.toThrow("never finished");
  });

  it("node:test fits the types as it is", () => {
    const api: Parameters<typeof registerSuite>[0] = {
      describe: (name, body) => nodeTest.describe(name, body),
      it: nodeTest.it,
    };
    expect(typeof api.it.skip).toBe("function");
  });
});

describe("expectations", () => {
  it("tell errno, violation and success apart", async () => {
    const fail = (): never => {
      throw new DmaBufError("ENODEV", "map", "gone");
    };
    expect((await expectErrno(fail, ["EINVAL", "ENODEV"], "map")).code).toBe("ENODEV");
    await expect(expectErrno(fail, "EINVAL", "map")).rejects.toThrow(/expected EINVAL, got .*gone/);
    await expect(expectErrno(() => 5n, "EINVAL", "map")).rejects.toThrow("got success (0x5)");
    const broken = (): never => {
      throw new ProtocolViolation("dma-buf R16", "map", "not held");
    };
    await expectViolation(broken, "dma-buf R16", "map");
    await expect(expectViolation(broken, "dma-buf R25", "map")).rejects.toThrow(/rule named/);
    expect(() => {
      equal(1n, 2n, "count");
    }).toThrow("count: expected 0x2, got 0x1");
  });
});
