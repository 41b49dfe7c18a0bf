import { describe, expect, it } from "vitest";
import {
  AcquireContext,
  DmaBufError,
  dispose,
  FenceArray,
  FenceContext,
  isDmaBufError,
  Lock,
  MicrotaskScheduler,
  POLLIN,
  Reservation,
  type Waiter,
  type WaitPoint,
} from "../src/index.js";
import { rejectionOf, settle } from "./fixtures/expect-error.js";
import { buffer, RecordingExporter } from "./fixtures/exporter.js";

/** Notes every place where somebody waits: what an explorer shows, and what a deadlock is told by. */
class Noting extends MicrotaskScheduler {
  readonly points: string[] = [];

  override park(point: WaitPoint): Waiter {
    this.points.push(`${point.kind} ${point.on}`);
    return super.park(point);
  }
}

async function told(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (error) {
    if (!isDmaBufError(error)) throw error;
    return `${error.code} ${error.syscall}`;
  }
  throw new Error("nothing was refused");
}

describe("a wait", () => {
  it("has a place: the kind of what is waited for, and its name", async () => {
    const scheduler = new Noting();
    const lock = new Lock("a", scheduler);
    const guard = await lock.lock();
    const second = lock.lock();
    guard[dispose]();
    (await second).release();
    const fence = new FenceContext(1, "job", scheduler).next();
    const waiting = fence.wait();
    const { buffer: made } = buffer(new RecordingExporter(), { scheduler, name: "bar2" });
    const held = made.reservation.lockNow();
    made.reservation.reserveFences(held, 1);
    made.reservation.addFence(held, fence, "kernel");
    held.release();
    const polled = made.pollWait(POLLIN);
    const drained = made.reservation.wait("kernel");
    await settle();
    fence.signal();
    await Promise.all([waiting, polled, drained]);
    expect(scheduler.points).toEqual([
      "lock a",
      "fence job:1#1",
      "fence bar2.poll",
      "fence job:1#1",
    ]);
    expect([lock.isLocked, guard.held]).toEqual([false, false]);
  });

  it("given up or too late is told under the operation that waited", async () => {
    const scheduler = new MicrotaskScheduler();
    const lock = new Lock("a", scheduler);
    const guard = await lock.lock();
    const fence = new FenceContext(1, "job", scheduler).next();
    const signal = AbortSignal.abort();
    expect(await told(lock.lock({ signal }))).toBe("EINTR lock");
    expect(await told(fence.wait({ signal }))).toBe("EINTR fence.wait");
    const late = [lock.lock({ deadlineUs: 5 }), fence.wait({ deadlineUs: 5 })].map(told);
    const abort = new AbortController();
    const given = [lock.lock({ signal: abort.signal }), fence.wait({ signal: abort.signal })];
    const aborted = given.map(told);
    await settle();
    scheduler.advance(5);
    abort.abort();
    expect(await Promise.all(late)).toEqual(["ETIMEDOUT lock", "ETIMEDOUT fence.wait"]);
    expect(await Promise.all(aborted)).toEqual(["EINTR lock", "EINTR fence.wait"]);
    guard.release();
  });

  it("for what has happened already is none, whatever the caller has given up", async () => {
    const context = new FenceContext(1, "job");
    const fence = context.next();
    fence.signal();
    const signal = AbortSignal.abort();
    await fence.wait({ signal });
    await new FenceArray([fence, fence]).wait({ signal });
    const pending = new FenceArray([fence, context.next()]);
    expect(await told(pending.wait({ signal }))).toBe("EINTR fence.wait");
  });
});

describe("whoever waited", () => {
  /** A signal that can tell who listens. */
  class Counted {
    aborted = false;
    readonly reason = "enough";
    readonly listeners = new Map<string, () => void>();

    addEventListener(type: string, listener: () => void): void {
      this.listeners.set(type, listener);
    }

    removeEventListener(type: string, listener: () => void): void {
      if (this.listeners.get(type) === listener) this.listeners.delete(type);
    }
  }

  it("listens to the abort while the wait lasts, and not a moment longer", async () => {
    const fence = new FenceContext(1, "job").next();
    const signal = new Counted();
    const waiting = fence.wait({ signal });
    await settle();
    expect([...signal.listeners.keys()]).toEqual(["abort"]);
    fence.signal();
    await waiting;
    expect(signal.listeners.size).toBe(0);
    const other = new FenceContext(2, "job").next();
    const given = other.wait({ signal });
    await settle();
    signal.listeners.get("abort")?.();
    await expect(given).rejects.toMatchObject({ code: "EINTR", cause: "enough" });
    expect(signal.listeners.size).toBe(0);
  });

  it("is told under the name of a poll that was given up", async () => {
    const { buffer: made } = buffer(new RecordingExporter());
    const fence = new FenceContext(1, "job").next();
    const held = await made.reservation.lock();
    made.reservation.reserveFences(held, 1);
    made.reservation.addFence(held, fence, "kernel");
    held.release();
    const abort = new AbortController();
    const polled = told(made.pollWait(POLLIN, { signal: abort.signal }));
    await settle();
    abort.abort();
    expect(await polled).toBe("EINTR dmabuf.poll");
    fence.signal();
  });
});

describe("a fence", () => {
  it("signalled twice is EINVAL, and keeps what it said first", () => {
    const fence = new FenceContext(1, "job").next();
    const error = new DmaBufError("EIO", "dma", "the engine stopped");
    fence.signal(error);
    let second: unknown;
    try {
      fence.signal();
    } catch (caught) {
      second = caught;
    }
    expect(second).toMatchObject({ code: "EINVAL", syscall: "fence.signal", rule: "dma-fence" });
    expect([fence.signaled, fence.error]).toEqual([true, error]);
  });
});

describe("a fence array", () => {
  it("is called after its parts, and has no error where none failed (dma-buf R39)", () => {
    const [a, b] = ["a", "b"].map((name, i) => new FenceContext(i, name).next());
    if (a === undefined || b === undefined) throw new Error("two were asked for");
    const array = new FenceArray([a, b]);
    expect([array.name, array.error]).toEqual(["array(a:0#1 b:1#1)", undefined]);
    a.signal();
    expect([array.signaled, array.error]).toEqual([false, undefined]);
    const failed = new DmaBufError("EIO", "dma", "the engine stopped");
    b.signal(failed);
    expect([array.signaled, array.error]).toEqual([true, failed]);
  });
});

describe("wait-die (dma-buf R40)", () => {
  const three = () => {
    const scheduler = new MicrotaskScheduler();
    const [older, younger] = [new AcquireContext(scheduler), new AcquireContext(scheduler)];
    const [r, x] = ["r", "x"].map((name) => new Reservation({ name, scheduler }));
    if (r === undefined || x === undefined) throw new Error("two were asked for");
    return { older, younger, r, x };
  };

  it("names itself in what it refuses: given up, held already, younger", async () => {
    const { older, younger, r, x } = three();
    expect(await told(older.lock(r, { signal: AbortSignal.abort() }))).toBe("EINTR ww.lock");
    await older.lock(r);
    expect(await told(older.lock(r))).toBe("EALREADY ww.lock");
    await younger.lock(x);
    expect(await told(younger.lock(r))).toBe("EDEADLK ww.lock");
    expect(await rejectionOf(younger.lock(r))).toEqual({ code: "EDEADLK", rule: "dma-buf R40" });
    expect(await rejectionOf(older.lock(r))).toEqual({ code: "EALREADY", rule: "dma-buf R40" });
    const abort = new AbortController();
    const all = told(older.lockAll([r, x], { signal: abort.signal }));
    await settle();
    abort.abort();
    expect(await all).toBe("EINTR lock");
    expect([older.held, r.isLocked, x.isLocked]).toEqual([[], false, true]);
  });

  it("minds nobody who has left: a free lock is taken by the younger too", async () => {
    const { older, younger, r, x } = three();
    await older.lock(r);
    older.release();
    await younger.lock(x);
    const held = await younger.lock(r);
    expect([held.held, younger.held.length]).toEqual([true, 2]);
    younger[dispose]();
    expect([held.held, younger.held]).toEqual([false, []]);
  });

  it("minds the older one in line behind a holder without a context, and no holder of that kind", async () => {
    const { older, younger, r, x } = three();
    const plain = await r.lock();
    const behind = r.lock();
    const waiting = older.lock(r);
    await younger.lock(x);
    await settle();
    expect((await rejectionOf(younger.lock(r)))?.code).toBe("EDEADLK");
    plain.release();
    (await behind).release();
    expect((await waiting).held).toBe(true);
    older.release();
    const alone = await r.lock();
    const mine = younger.lock(r);
    await settle();
    alone.release();
    expect((await mine).held).toBe(true);
  });
});
