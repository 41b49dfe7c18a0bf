import { describe, expect, it } from "vitest";
import {
  type DmaBuf,
  FdTable,
  FenceContext,
  type FenceUsage,
  POLLIN,
  POLLOUT,
} from "../src/index.js";
import { errorOf, rejectionOf, settle } from "./fixtures/expect-error.js";
import { buffer, device, locked } from "./fixtures/exporter.js";

const both = POLLIN | POLLOUT;

function pending(made: DmaBuf, usage: FenceUsage, context = 1): ReturnType<FenceContext["next"]> {
  const fence = new FenceContext(context, usage).next();
  locked(made, (held) => {
    made.reservation.reserveFences(held, 1);
    made.reservation.addFence(held, fence, usage);
  });
  return fence;
}

describe("poll", () => {
  it("is ready at once where nothing is in flight, and arms nothing (dma-buf R48)", () => {
    const { buffer: made } = buffer();
    expect([made.poll(both), made.poll(POLLIN), made.poll(0)]).toEqual([both, POLLIN, 0]);
    expect([made.armedPolls, made.references]).toEqual([0, 1]);
  });

  it("lets READ fences stop writers, WRITE and KERNEL ones everybody, BOOKKEEP nobody (dma-buf R48)", () => {
    const ready = (usage: FenceUsage): number => {
      const { buffer: made } = buffer();
      pending(made, usage);
      return made.poll(both);
    };
    expect((["kernel", "write", "read", "bookkeep"] as const).map(ready)).toEqual([
      0,
      0,
      POLLIN,
      both,
    ]);
  });

  it("arms once a direction and keeps the buffer until the fence signals (dma-buf R48)", async () => {
    const fds = new FdTable();
    const { buffer: made, ops } = buffer();
    const fd = fds.fd(made);
    const fence = pending(made, "write");
    made.poll(both);
    made.poll(both);
    expect([made.armedPolls, made.references]).toEqual([2, 3]);
    fds.close(fd);
    await settle();
    expect(ops.log).toEqual([]);
    fence.signal();
    await settle();
    expect([made.armedPolls, ops.log]).toEqual([0, ["release"]]);
  });

  it("wakes everybody on the queue, who then look again (dma-buf R48)", async () => {
    const { buffer: made } = buffer();
    const first = pending(made, "write", 1);
    const second = pending(made, "read", 2);
    const woken: number[] = [];
    const waits = [POLLIN, both, POLLOUT].map((events) =>
      made.pollWait(events).then((got) => woken.push(got)),
    );
    await settle();
    expect([woken, made.armedPolls]).toEqual([[], 2]);
    first.signal();
    await settle();
    expect(woken).toEqual([POLLIN, POLLIN]);
    // The writer looked again and armed for the reader's fence.
    expect(made.armedPolls).toBe(1);
    second.signal();
    await Promise.all(waits);
    expect(woken).toEqual([POLLIN, POLLIN, POLLOUT]);
    expect([made.armedPolls, made.references]).toEqual([0, 1]);
  });

  it("keeps the buffer but not its importers: who attaches needs a reference of its own (dma-buf R6, R48)", () => {
    const { buffer: made } = buffer();
    const fence = pending(made, "write");
    made.poll(POLLIN);
    const attachment = made.attach(device("a"));
    expect(errorOf(() => made.close())?.rule).toBe("dma-buf R6");
    attachment.detach();
    made.close();
    expect([made.references, errorOf(() => made.attach(device("b")))?.code]).toEqual([1, "EBADF"]);
    fence.signal();
    expect(made.released).toBe(true);
  });

  it("holds the file while it sleeps: one of two fences is not enough, whoever has closed it (dma-buf R48)", async () => {
    const { buffer: made, ops } = buffer();
    const first = pending(made, "write", 1);
    const second = pending(made, "write", 2);
    const woken: number[] = [];
    const waiting = made.pollWait(POLLIN).then((got) => woken.push(got));
    await settle();
    expect([made.armedPolls, made.references]).toEqual([1, 3]);
    made.close();
    expect(errorOf(() => made.attach(device("a")))?.code).toBe("EBADF");
    first.signal();
    await settle();
    expect([woken, ops.log, made.armedPolls, made.references]).toEqual([[], [], 1, 2]);
    second.signal();
    await waiting;
    await settle();
    expect([woken, ops.log, made.references]).toEqual([[POLLIN], ["release"], 0]);
  });

  it("that sleeps lets an owner keep its importers, and is no owner itself (dma-buf R6, R48)", async () => {
    const { buffer: made, scheduler } = buffer();
    const fence = pending(made, "write");
    const late = made.pollWait(POLLIN, { deadlineUs: 10 });
    const waiting = made.pollWait(POLLIN);
    await settle();
    const attachment = made.attach(device("a"));
    expect(errorOf(() => made.close())?.rule).toBe("dma-buf R6");
    scheduler.advance(10);
    expect((await rejectionOf(late))?.code).toBe("ETIMEDOUT");
    fence.signal();
    expect(await waiting).toBe(POLLIN);
    expect(made.references).toBe(1);
    attachment.detach();
    made.close();
    expect(made.released).toBe(true);
  });

  it("given up stays armed (dma-buf R48)", async () => {
    const { buffer: made, scheduler } = buffer();
    const fence = pending(made, "kernel");
    const abort = new AbortController();
    const aborted = made.pollWait(POLLIN, { signal: abort.signal });
    const late = made.pollWait(POLLIN, { deadlineUs: 10 });
    abort.abort();
    scheduler.advance(10);
    expect((await rejectionOf(aborted))?.code).toBe("EINTR");
    expect((await rejectionOf(late))?.code).toBe("ETIMEDOUT");
    expect([made.armedPolls, made.references]).toEqual([1, 2]);
    fence.signal();
    expect(made.references).toBe(1);
  });

  it("waits for an event that exists", async () => {
    const { buffer: made } = buffer();
    expect((await rejectionOf(made.pollWait(2)))?.code).toBe("EINVAL");
    made.close();
    expect(errorOf(() => made.poll(POLLIN))?.code).toBe("EBADF");
  });
});
