import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { AcquireContext, MicrotaskScheduler, Reservation } from "../src/index.js";
import { errorOf, rejectionOf, settle } from "./fixtures/expect-error.js";

function reservations(count: number, scheduler = new MicrotaskScheduler()): Reservation[] {
  return Array.from(
    { length: count },
    (_, i) => new Reservation({ name: `r${String(i)}`, scheduler }),
  );
}

function pair(): [Reservation, Reservation] {
  const [a, b] = reservations(2);
  if (a === undefined || b === undefined) throw new Error("two reservations");
  return [a, b];
}

describe("locking all at once", () => {
  it("is in one order whatever the order asked for, so two tasks cannot deadlock (dma-buf R40)", async () => {
    const [a, b] = pair();
    const task = async (wanted: Reservation[]): Promise<string[]> => {
      const held = await Reservation.lockAll(wanted);
      await settle();
      for (const one of held) one.release();
      return held.map((one) => one.reservation.name);
    };
    const [first, second] = await Promise.all([task([a, b]), task([b, a, b])]);
    expect([first, second]).toEqual([
      ["r0", "r1"],
      ["r0", "r1"],
    ]);
  });

  it("keeps nothing where one of them is not to be had (dma-buf R40)", async () => {
    const [a, b] = pair();
    const other = await b.lock();
    const abort = new AbortController();
    const all = Reservation.lockAll([a, b], { signal: abort.signal });
    await settle();
    expect(a.isLocked).toBe(true);
    abort.abort();
    expect((await rejectionOf(all))?.code).toBe("EINTR");
    expect([a.isLocked, other.held, b.waiters]).toEqual([false, true, 0]);
  });
});

describe("an acquire context", () => {
  it("backs off with EDEADLK where it is the younger, and waits where it is the older (dma-buf R40)", async () => {
    const [a, b] = pair();
    const older = new AcquireContext();
    const younger = new AcquireContext();
    await older.lock(a);
    await younger.lock(b);
    const patient = older.lock(b);
    expect(await rejectionOf(younger.lock(a))).toEqual({ code: "EDEADLK", rule: "dma-buf R40" });
    expect(younger.held.length).toBe(1);
    const slow = younger.backOff(a);
    expect((await patient).held).toBe(true);
    older.release();
    expect((await slow).held).toBe(true);
    expect(younger.held.map((held) => held.reservation.name)).toEqual(["r0"]);
    younger.release();
    expect([a.isLocked, b.isLocked]).toEqual([false, false]);
  });

  it("holding nothing waits for anybody; a plain lock never gets EDEADLK (dma-buf R40)", async () => {
    const [a] = pair();
    const older = new AcquireContext();
    const younger = new AcquireContext();
    await older.lock(a);
    const waits = [younger.lock(a), a.lock()];
    await settle();
    expect(a.waiters).toBe(2);
    older.release();
    (await waits[0])?.release();
    (await waits[1])?.release();
    expect(a.isLocked).toBe(false);
  });

  it("says EALREADY for what it holds, and not for what was released behind its back", async () => {
    const [a] = pair();
    const context = new AcquireContext();
    const held = await context.lock(a);
    expect(await rejectionOf(context.lock(a))).toEqual({ code: "EALREADY", rule: "dma-buf R40" });
    held.release();
    expect((await context.lock(a)).held).toBe(true);
  });

  it("locks again what was released behind its back, and is no holder by it (dma-buf R40)", async () => {
    const [a, b] = pair();
    const older = new AcquireContext();
    const younger = new AcquireContext();
    (await younger.lock(a)).release();
    expect(younger.held).toEqual([]);
    await older.lock(b);
    // It holds nothing, so that waiting for the older one closes no cycle.
    const patient = younger.lock(b);
    await settle();
    older.release();
    (await patient).release();
    await younger.lockAll([a, b]);
    expect([a.isLocked, b.isLocked]).toEqual([true, true]);
    expect(younger.held.map((held) => held.reservation.name)).toEqual(["r0", "r1"]);
  });

  it("releases all it had where the caller gives up", async () => {
    const [a, b] = pair();
    const other = await b.lock();
    const context = new AcquireContext();
    const abort = new AbortController();
    const all = context.lockAll([a, b], { signal: abort.signal });
    await settle();
    abort.abort();
    expect((await rejectionOf(all))?.code).toBe("EINTR");
    expect([a.isLocked, context.held.length]).toEqual([false, 0]);
    other.release();
    expect(errorOf(() => a.lockNow().release())).toBeUndefined();
  });

  it("lets every task through, for any sets of reservations in any order (dma-buf R40)", async () => {
    const wanted = fc.array(fc.uniqueArray(fc.nat(4), { minLength: 1 }), {
      minLength: 2,
      maxLength: 6,
    });
    await fc.assert(
      fc.asyncProperty(
        wanted,
        fc.array(fc.nat(3), { minLength: 6, maxLength: 6 }),
        async (sets, naps) => {
          const all = reservations(5);
          const inside = new Set<Reservation>();
          let finished = 0;
          const tasks = sets.map(async (set, index) => {
            const mine = set.map((i) => all[i]).filter((one) => one !== undefined);
            const context = new AcquireContext(all[0]?.scheduler);
            for (let nap = naps[index] ?? 0; nap > 0; nap--) await Promise.resolve();
            await context.lockAll(mine);
            for (const one of mine) {
              expect(inside.has(one)).toBe(false);
              inside.add(one);
            }
            await settle();
            for (const one of mine) inside.delete(one);
            context.release();
            finished += 1;
          });
          await Promise.all(tasks);
          expect(finished).toBe(sets.length);
          expect(all.some((one) => one.isLocked)).toBe(false);
        },
      ),
      { numRuns: 300 },
    );
  });
});
