import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { dispose, MicrotaskScheduler, waitFor } from "../src/index.js";
import { rejectionOf, settle } from "./fixtures/expect-error.js";

describe("virtual time", () => {
  it("runs timers in order of time, then of registration, and never moves by itself", async () => {
    const scheduler = new MicrotaskScheduler();
    const ran: string[] = [];
    const note = (what: string) => () => ran.push(`${what}@${String(scheduler.nowUs)}`);
    scheduler.at(20, note("c"));
    scheduler.at(10, note("a"));
    scheduler.at(10, note("b"));
    await settle();
    expect(ran).toEqual([]);
    scheduler.advance(15);
    expect(ran).toEqual(["a@10", "b@10"]);
    scheduler.advance(5);
    expect(ran).toEqual(["a@10", "b@10", "c@20"]);
    expect(scheduler.nowUs).toBe(20);
  });

  it("runs timers that timers set inside the same advance", () => {
    const scheduler = new MicrotaskScheduler();
    const ran: number[] = [];
    scheduler.at(1, () => {
      ran.push(scheduler.nowUs);
      scheduler.at(2, () => ran.push(scheduler.nowUs));
    });
    scheduler.advance(5);
    expect(ran).toEqual([1, 2]);
  });

  it("does not run what was disposed of", () => {
    const scheduler = new MicrotaskScheduler();
    let ran = 0;
    const timer = scheduler.at(1, () => (ran += 1));
    timer[dispose]();
    scheduler.advance(2);
    expect(ran).toBe(0);
  });

  it("refuses to go backwards", () => {
    const scheduler = new MicrotaskScheduler();
    expect(() => scheduler.advance(-1)).toThrow(RangeError);
    expect(() => scheduler.advance(Number.NaN)).toThrow(RangeError);
  });

  it("agrees with a sorted list for any timers and cancellations", () => {
    const timer = fc.record({ when: fc.nat(50), cancel: fc.boolean() });
    fc.assert(
      fc.property(fc.array(timer), fc.array(fc.nat(20)), (timers, steps) => {
        const scheduler = new MicrotaskScheduler();
        const ran: number[] = [];
        const handles = timers.map(({ when }, index) => scheduler.at(when, () => ran.push(index)));
        timers.forEach(({ cancel }, index) => {
          if (cancel) handles[index]?.[dispose]();
        });
        for (const step of steps) scheduler.advance(step);
        const expected = timers
          .map(({ when, cancel }, index) => ({ when, cancel, index }))
          .filter(({ when, cancel }) => !cancel && when <= scheduler.nowUs && steps.length > 0)
          .sort((a, b) => a.when - b.when || a.index - b.index)
          .map(({ index }) => index);
        expect(ran).toEqual(expected);
      }),
      { numRuns: 500 },
    );
  });
});

describe("waitFor", () => {
  const point = { kind: "fence", on: "f" } as const;

  it("keeps nothing subscribed, whichever way it ends", async () => {
    const scheduler = new MicrotaskScheduler();
    const subscribers = new Set<() => void>();
    const subscribe = (wake: () => void) => {
      subscribers.add(wake);
      return () => subscribers.delete(wake);
    };
    const abort = new AbortController();
    const aborted = waitFor(scheduler, point, { signal: abort.signal }, "w", subscribe);
    const late = waitFor(scheduler, point, { deadlineUs: 5 }, "w", subscribe);
    expect(subscribers.size).toBe(2);
    abort.abort("no more");
    scheduler.advance(5);
    expect(await rejectionOf(aborted)).toMatchObject({ code: "EINTR" });
    expect(await rejectionOf(late)).toMatchObject({ code: "ETIMEDOUT" });
    expect(subscribers.size).toBe(0);
    await expect(aborted).rejects.toMatchObject({ cause: "no more" });
  });

  it("succeeds where the event came before the deadline, though the waiter runs later", async () => {
    const scheduler = new MicrotaskScheduler();
    let wake: () => void = () => undefined;
    const waiting = waitFor(scheduler, point, { deadlineUs: 5 }, "w", (whenDone) => {
      wake = whenDone;
      return () => undefined;
    });
    wake();
    scheduler.advance(5);
    await expect(waiting).resolves.toBeUndefined();
  });
});
