import { describe, expect, it } from "vitest";
import { Lock, MicrotaskScheduler } from "../src/index.js";
import { errorOf, rejectionOf, settle } from "./fixtures/expect-error.js";

describe("a lock", () => {
  it("is taken at once where it is free, and a release twice is one release", async () => {
    const lock = new Lock("l");
    const first = await lock.lock();
    expect([first.held, lock.isLocked]).toEqual([true, true]);
    first.release();
    const second = lock.lockNow();
    first.release();
    expect([first.held, second.held]).toEqual([false, true]);
  });

  it("is had by a try where it is free, never where it is held or waited for", async () => {
    const lock = new Lock("l");
    const tried = lock.tryLock();
    expect([tried?.held, tried?.sync, lock.tryLock()]).toEqual([true, true, undefined]);
    const waiting = lock.lock();
    expect(lock.waiters).toBe(1);
    tried?.release();
    expect([lock.tryLock(), lock.waiters]).toEqual([undefined, 0]);
    (await waiting).release();
    lock.tryLock()?.release();
    expect(lock.isLocked).toBe(false);
  });

  it("goes to waiters in the order they came, without a gap in which another could take it", async () => {
    const lock = new Lock("l");
    const first = await lock.lock();
    const order: string[] = [];
    const waiter = async (name: string): Promise<void> => {
      const guard = await lock.lock();
      order.push(name);
      await settle();
      guard.release();
    };
    const all = ["a", "b", "c"].map(waiter);
    expect(lock.waiters).toBe(3);
    first.release();
    // Handed over already: "a" has it although it has not run yet.
    expect(lock.tryLock()).toBeUndefined();
    await Promise.all(all);
    expect(order).toEqual(["a", "b", "c"]);
    expect([lock.isLocked, lock.waiters]).toEqual([false, 0]);
  });

  it("leaves the line where the waiter aborts", async () => {
    const lock = new Lock("l");
    const first = await lock.lock();
    const abort = new AbortController();
    const given = lock.lock({ signal: abort.signal });
    const patient = lock.lock();
    abort.abort(new Error("enough"));
    expect(await rejectionOf(given)).toMatchObject({ code: "EINTR" });
    expect(lock.waiters).toBe(1);
    first.release();
    expect((await patient).held).toBe(true);
  });

  it("is kept by the waiter whose turn came before the abort", async () => {
    const lock = new Lock("l");
    const first = await lock.lock();
    const abort = new AbortController();
    const given = lock.lock({ signal: abort.signal });
    first.release();
    abort.abort();
    const guard = await given;
    expect(guard.held).toBe(true);
    expect(lock.holder).toBe(guard);
  });

  it("is held for a piece of work, and released however that ends", async () => {
    const lock = new Lock("l");
    const waits = await lock.hold(async (guard) => {
      await settle();
      return [guard.held, guard === lock.holder];
    });
    expect([waits, lock.isLocked]).toEqual([[true, true], false]);
    const fails = [
      () => {
        throw new Error("now");
      },
      () => Promise.reject(new Error("later")),
    ];
    for (const work of fails) {
      await expect(lock.hold(work)).rejects.toThrow();
      expect(lock.isLocked).toBe(false);
    }
    const first = await lock.lock();
    const abort = new AbortController();
    const given = lock.hold(() => "ran", { signal: abort.signal });
    abort.abort();
    expect(await rejectionOf(given)).toMatchObject({ code: "EINTR" });
    first.release();
    expect(lock.isLocked).toBe(false);
  });

  it("is not held over a turn of the job queue by work that does not wait", async () => {
    const lock = new Lock("l");
    const seen: boolean[] = [];
    await lock.hold(() => {
      void Promise.resolve().then(() => seen.push(lock.isLocked));
    });
    expect(seen).toEqual([false]);
  });

  it("is refused to whoever has aborted before asking", async () => {
    const lock = new Lock("l");
    expect(await rejectionOf(lock.lock({ signal: AbortSignal.abort() }))).toMatchObject({
      code: "EINTR",
    });
    expect(lock.isLocked).toBe(false);
  });

  it("ends the wait at the deadline of virtual time", async () => {
    const scheduler = new MicrotaskScheduler();
    const lock = new Lock("l", scheduler);
    const first = await lock.lock();
    const given = lock.lock({ deadlineUs: 100 });
    scheduler.advance(99);
    await settle();
    expect(lock.waiters).toBe(1);
    scheduler.advance(1);
    expect(await rejectionOf(given)).toMatchObject({ code: "ETIMEDOUT" });
    expect([lock.waiters, first.held]).toEqual([0, true]);
  });

  it("polls where the deadline has been reached: a free lock is taken, a held one is ETIMEDOUT", async () => {
    const scheduler = new MicrotaskScheduler();
    const lock = new Lock("l", scheduler);
    scheduler.advance(10);
    const first = await lock.lock({ deadlineUs: 10 });
    expect(first.held).toBe(true);
    for (const deadlineUs of [10, 3, Number.NaN]) {
      expect(await rejectionOf(lock.lock({ deadlineUs }))).toMatchObject({ code: "ETIMEDOUT" });
    }
  });

  it("tells a self-deadlock from another task's hold", async () => {
    const lock = new Lock("l");
    const now = lock.lockNow();
    expect(errorOf(() => lock.lockNow())).toMatchObject({ code: "EDEADLK" });
    now.release();
    const across = await lock.lock();
    expect(errorOf(() => lock.lockNow())).toMatchObject({ code: "EAGAIN" });
    across.release();
    expect(lock.lockNow().held).toBe(true);
  });

  it("serves 20,000 waiters without quadratic cost", async () => {
    const lock = new Lock("l");
    const first = await lock.lock();
    let served = 0;
    const all = Array.from({ length: 20_000 }, async () => {
      const guard = await lock.lock();
      served += 1;
      guard.release();
    });
    first.release();
    await Promise.all(all);
    expect(served).toBe(20_000);
  });
});
