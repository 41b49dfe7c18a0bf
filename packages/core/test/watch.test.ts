import { describe, expect, it } from "vitest";
import {
  AcquireContext,
  FenceContext,
  Lock,
  type LockWatch,
  MicrotaskScheduler,
  Reservation,
  type SchedulerWatch,
} from "../src/index.js";
import { rejectionOf, settle } from "./fixtures/expect-error.js";
import { buffer, device, importer, RecordingExporter } from "./fixtures/exporter.js";

/** Writes down all that a scheduler is told of locks and objects; askers are numbered. */
class Told implements SchedulerWatch {
  readonly log: string[] = [];
  /** What a taker of a free lock waits for. */
  pause: () => Promise<void> = () => Promise.resolve();
  #askers = 0;

  lock(name: string, lockClass: string | undefined): LockWatch {
    this.log.push(`lock ${name} of ${lockClass ?? "none"}`);
    const say = (what: string): void => void this.log.push(`${name} ${what}`);
    return {
      touch: (writes) => {
        say(writes ? "written" : "read");
      },
      attempt: (ordered) => {
        this.#askers += 1;
        say(`asked for by ${String(this.#askers)}${ordered ? "" : " without order"}`);
        return this.#askers;
      },
      queued: () => {
        say("waited for");
      },
      taken: (asker, sync) => {
        say(`taken by ${String(asker)}${sync ? " for this step" : ""}`);
      },
      released: () => {
        say("released");
      },
      pause: () => {
        say("pause");
        return this.pause();
      },
    };
  }

  object(name: string): { touch(writes: boolean): void } {
    this.log.push(`object ${name}`);
    return {
      touch: (writes) => void this.log.push(`${name} ${writes ? "written" : "read"}`),
    };
  }

  touch(name: string): void {
    this.log.push(`${name} touched`);
  }

  /** What was told since the last call. */
  take(): string[] {
    return this.log.splice(0);
  }
}

class Watched extends MicrotaskScheduler {
  readonly watch = new Told();
}

describe("a lock tells an explorer", () => {
  function made(): { lock: Lock; told: Told } {
    const scheduler = new Watched();
    const lock = new Lock("a", scheduler, "class");
    expect(scheduler.watch.take()).toEqual(["lock a of class"]);
    return { lock, told: scheduler.watch };
  }

  it("its name and class; without a class of its own the explorer chooses", () => {
    const scheduler = new Watched();
    expect(new Lock("b7", scheduler).name).toBe("b7");
    expect(scheduler.watch.take()).toEqual(["lock b7 of none"]);
  });

  it("of the two ways that do not wait: a try has no order, a take has", () => {
    const { lock, told } = made();
    const tried = lock.tryLock();
    expect(told.take()).toEqual(["a asked for by 1 without order", "a taken by 1 for this step"]);
    expect(lock.tryLock()).toBeUndefined();
    expect(() => lock.lockNow()).toThrow(expect.objectContaining({ code: "EDEADLK" }));
    expect(told.take()).toEqual(["a read", "a read"]);
    tried?.release();
    tried?.release();
    expect(told.take()).toEqual(["a released"]);
    lock.lockNow().release();
    expect(told.take()).toEqual(["a asked for by 2", "a taken by 2 for this step", "a released"]);
  });

  it("who takes it free may be overtaken by others before it goes on", async () => {
    const { lock, told } = made();
    let go = (): void => undefined;
    told.pause = () => new Promise<void>((resolve) => (go = resolve));
    let mine = false;
    const taken = lock.lock().then((guard) => {
      mine = true;
      return guard;
    });
    await settle();
    expect([mine, lock.isLocked]).toEqual([false, true]);
    expect(told.take()).toEqual(["a asked for by 1", "a taken by 1", "a pause"]);
    go();
    (await taken).release();
  });

  it("who waits in line, that it is handed over, and who gave up", async () => {
    const { lock, told } = made();
    const first = await lock.lock();
    told.take();
    const second = lock.lock();
    const abort = new AbortController();
    const third = rejectionOf(lock.lock({ signal: abort.signal }));
    expect(told.take()).toEqual([
      "a asked for by 2",
      "a waited for",
      "a asked for by 3",
      "a waited for",
    ]);
    abort.abort();
    expect((await third)?.code).toBe("EINTR");
    expect(told.take()).toEqual(["a written"]);
    first.release();
    expect(told.take()).toEqual(["a released", "a taken by 2"]);
    (await second).release();
    expect(told.take()).toEqual(["a released"]);
  });
});

describe("an acquire context (dma-buf R40)", () => {
  it("takes its age from a shared counter, and backs off, so its attempts have no order", async () => {
    const scheduler = new Watched();
    const told = scheduler.watch;
    const [a, b] = ["a", "b"].map((name) => new Reservation({ name, scheduler }));
    if (a === undefined || b === undefined) throw new Error("two were asked for");
    expect(told.take()).toEqual(["lock a of reservation", "lock b of reservation"]);
    const older = new AcquireContext(scheduler);
    const younger = new AcquireContext(scheduler);
    expect(told.take()).toEqual(["ww touched", "ww touched"]);
    await older.lock(a);
    await younger.lock(b);
    expect(told.take()).toEqual([
      "a asked for by 1 without order",
      "a taken by 1",
      "a pause",
      "b asked for by 2 without order",
      "b taken by 2",
      "b pause",
    ]);
    // Wait-die looks at who holds it and who is in line.
    expect((await rejectionOf(younger.lock(a)))?.code).toBe("EDEADLK");
    expect(told.take()).toEqual(["a read"]);
    const waiting = older.lock(b);
    await settle();
    expect(told.take()).toEqual(["b read", "b asked for by 3 without order", "b waited for"]);
    younger.release();
    expect(told.take()).toEqual(["b released", "b taken by 3"]);
    await waiting;
    older.release();
    expect(told.take()).toEqual(["b released", "a released"]);
  });
});

describe("a fence tells an explorer", () => {
  it("of each look, of its signal, and of a callback taken back", () => {
    const scheduler = new Watched();
    const told = scheduler.watch;
    const fence = new FenceContext(3, "job", scheduler).next();
    expect(told.take()).toEqual([`object ${fence.name}`]);
    expect(fence.signaled).toBe(false);
    const takeBack = fence.onSignal(() => undefined);
    expect(told.take()).toEqual([`${fence.name} read`, `${fence.name} read`]);
    takeBack();
    expect(told.take()).toEqual([`${fence.name} written`]);
    fence.signal();
    expect(told.take()).toEqual([`${fence.name} written`]);
    let ran = 0;
    fence.onSignal(() => (ran += 1));
    expect([ran, ...told.take()]).toEqual([1, `${fence.name} read`]);
  });
});

describe("a reservation tells an explorer", () => {
  it("that its fences are looked at, and that what needs the lock writes", async () => {
    const scheduler = new Watched();
    const told = scheduler.watch;
    const resv = new Reservation({ name: "r", scheduler });
    const held = await resv.lock();
    told.take();
    const fence = new FenceContext(1, "job").next();
    resv.reserveFences(held, 1);
    resv.addFence(held, fence, "write");
    expect(told.take()).toEqual(["r written", "r written"]);
    expect(resv.pending("write")).toEqual([fence]);
    expect(resv.fences).toEqual([{ fence, usage: "write" }]);
    expect(resv.firstPending("write")).toBe(fence);
    expect(resv.isSignaled("write")).toBe(false);
    expect(told.take()).toEqual(["r read", "r read", "r read", "r read"]);
  });
});

describe("a buffer tells an explorer", () => {
  it("that every operation changes what its reservation guards", () => {
    const scheduler = new Watched();
    const told = scheduler.watch;
    const { buffer: made } = buffer(new RecordingExporter(), { scheduler, name: "b" });
    told.take();
    const operations: readonly (() => unknown)[] = [
      () => {
        made.setName("x");
      },
      () => made.seek(0n, 2),
      () => made.get(),
      () => made.attach(device("nic"), importer()),
      () => made.exportSyncFile("read"),
    ];
    for (const operation of operations) {
      operation();
      expect(told.take()).toContain("b written");
    }
    for (const attachment of made.attachments) attachment.detach();
    expect(told.take()).toContain("b written");
    made.close();
    expect(told.take()).toContain("b written");
  });
});
