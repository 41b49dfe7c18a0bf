import { describe, expect, it } from "vitest";
import {
  DmaBufError,
  FenceArray,
  FenceContext,
  fenceUsages,
  MicrotaskScheduler,
  signaledFence,
  unwrapFences,
  usageFor,
  usageRank,
} from "../src/index.js";
import { errorOf, rejectionOf, settle } from "./fixtures/expect-error.js";

describe("fence usages", () => {
  it("are KERNEL 0, WRITE 1, READ 2, BOOKKEEP 3 (dma-buf R34)", () => {
    expect(fenceUsages.map(usageRank)).toEqual([0, 1, 2, 3]);
    expect([...fenceUsages]).toEqual(["kernel", "write", "read", "bookkeep"]);
  });

  it("a writer waits for readers too, a reader for writers alone (dma-buf R35)", () => {
    expect([usageFor("write"), usageFor("read")]).toEqual(["read", "write"]);
  });
});

describe("a device fence", () => {
  it("signals once, and tells each subscriber once, in order", () => {
    const fence = new FenceContext(1, "gpu").next();
    const told: string[] = [];
    fence.onSignal(() => told.push("a"));
    const takeBack = fence.onSignal(() => told.push("b"));
    fence.onSignal(() => told.push("c"));
    takeBack();
    expect(fence.signaled).toBe(false);
    fence.signal();
    fence.onSignal(() => told.push("late"));
    expect(told).toEqual(["a", "c", "late"]);
    expect(errorOf(() => fence.signal())).toMatchObject({ code: "EINVAL" });
    expect(fence.signaled).toBe(true);
  });

  it("takes the same function twice as two subscriptions", () => {
    const fence = new FenceContext(1, "gpu").next();
    let told = 0;
    const count = (): void => {
      told += 1;
    };
    fence.onSignal(count);
    fence.onSignal(count)();
    fence.signal();
    expect(told).toBe(1);
  });

  it("tells all subscribers even where one throws", () => {
    const fence = new FenceContext(1, "gpu").next();
    let told = 0;
    fence.onSignal(() => {
      throw new RangeError("broken subscriber");
    });
    fence.onSignal(() => (told += 1));
    expect(() => fence.signal()).toThrow(RangeError);
    expect([told, fence.signaled]).toEqual([1, true]);
  });

  it("numbers itself along its timeline, and carries the error it failed with", async () => {
    const timeline = new FenceContext(7, "nic");
    const [first, second] = [timeline.next(), timeline.next()];
    expect([first.seqno, second.seqno, first.context]).toEqual([1, 2, 7]);
    expect(second.name).toBe("nic:7#2");
    const lost = new DmaBufError("EIO", "dma", "link down");
    second.signal(lost);
    expect(second.error).toBe(lost);
    await second.wait();
  });

  it("ends a wait by signal, abort or deadline", async () => {
    const scheduler = new MicrotaskScheduler();
    const timeline = new FenceContext(1, "gpu", scheduler);
    const [a, b, c] = [timeline.next(), timeline.next(), timeline.next()];
    const abort = new AbortController();
    const waits = [a.wait(), b.wait({ signal: abort.signal }), c.wait({ deadlineUs: 9 })];
    a.signal();
    abort.abort();
    scheduler.advance(9);
    const ended = await Promise.allSettled(waits);
    expect(
      ended.map((one) => (one.status === "fulfilled" ? "ok" : (one.reason as DmaBufError).code)),
    ).toEqual(["ok", "EINTR", "ETIMEDOUT"]);
  });
});

describe("a fence array", () => {
  it("signals with the last of its parts and reports the first error (dma-buf R39)", async () => {
    const timeline = new FenceContext(1, "gpu");
    const [a, b] = [timeline.next(), timeline.next()];
    const array = new FenceArray([a, b]);
    let told = 0;
    array.onSignal(() => (told += 1));
    const waited = array.wait().then(() => "done");
    b.signal(new DmaBufError("EIO", "dma", "failed"));
    expect([array.signaled, told]).toEqual([false, 0]);
    a.signal();
    expect([array.signaled, told, array.error?.code]).toEqual([true, 1, "EIO"]);
    expect(await waited).toBe("done");
    let late = 0;
    array.onSignal(() => (late += 1));
    expect(late).toBe(1);
  });

  it("gives its callbacks back", () => {
    const fence = new FenceContext(1, "gpu").next();
    let told = 0;
    new FenceArray([fence]).onSignal(() => (told += 1))();
    fence.signal();
    expect(told).toBe(0);
  });

  it("without parts is signalled from the start", async () => {
    const empty = new FenceArray([]);
    let told = 0;
    empty.onSignal(() => (told += 1));
    await empty.wait();
    expect([empty.signaled, told]).toEqual([true, 1]);
  });

  it("comes apart into plain fences in order, at any depth (dma-buf R46)", () => {
    const timeline = new FenceContext(1, "gpu");
    const [a, b, c] = [timeline.next(), timeline.next(), timeline.next()];
    const nested = new FenceArray([a, new FenceArray([b, new FenceArray([])]), c]);
    expect(unwrapFences(nested)).toEqual([a, b, c]);
    expect(unwrapFences(a)).toEqual([a]);
  });
});

describe("the stub fence", () => {
  it("never was pending (dma-buf R45)", async () => {
    let told = 0;
    signaledFence.onSignal(() => (told += 1))();
    expect([signaledFence.signaled, signaledFence.error, told]).toEqual([true, undefined, 1]);
    expect(await rejectionOf(signaledFence.wait())).toBeUndefined();
    await settle();
  });
});
