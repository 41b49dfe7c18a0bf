import { describe, expect, it } from "vitest";
import {
  FenceArray,
  FenceContext,
  type FenceUsage,
  Held,
  MicrotaskScheduler,
  Reservation,
} from "../src/index.js";
import { errorOf, rejectionOf, settle } from "./fixtures/expect-error.js";

function withFences(usages: readonly FenceUsage[]): {
  scheduler: MicrotaskScheduler;
  reservation: Reservation;
  fences: ReturnType<FenceContext["next"]>[];
} {
  const scheduler = new MicrotaskScheduler();
  const reservation = new Reservation({ name: "r", scheduler });
  const held = reservation.lockNow();
  reservation.reserveFences(held, Math.max(1, usages.length));
  const fences = usages.map((usage, index) => {
    const fence = new FenceContext(index + 1, usage, scheduler).next();
    reservation.addFence(held, fence, usage);
    return fence;
  });
  held.release();
  return { scheduler, reservation, fences };
}

describe("the proof of holding a reservation", () => {
  it("is refused when missing, foreign, stale or forged, with the rule's name (dma-buf R16)", () => {
    const mine = new Reservation();
    const other = new Reservation();
    const stale = mine.lockNow();
    stale.release();
    const foreign = other.lockNow();
    const held = mine.lockNow();
    const wrong: unknown[] = [
      undefined,
      null,
      {},
      stale,
      foreign,
      new Held(mine, true),
      Object.create(held) as unknown,
    ];
    for (const proof of wrong) {
      expect(errorOf(() => mine.assertHeld(proof as Held, "test"))).toEqual({
        code: "ERR_PROTOCOL",
        rule: "dma-buf R16",
      });
    }
    expect(errorOf(() => mine.assertHeld(held, "test"))).toBeUndefined();
    held.release();
    expect(errorOf(() => mine.assertHeld(held, "test"))?.rule).toBe("dma-buf R16");
  });

  it("dies for good: locking again does not revive it (dma-buf R16)", () => {
    const reservation = new Reservation();
    const first = reservation.lockNow();
    first.release();
    const second = reservation.lockNow();
    expect(errorOf(() => reservation.reserveFences(first, 1))?.rule).toBe("dma-buf R16");
    first.release();
    expect(second.held).toBe(true);
  });
});

describe("fences of a reservation", () => {
  it("need a slot reserved in the same lock section (dma-buf R36)", () => {
    const reservation = new Reservation();
    const timeline = new FenceContext(1, "a");
    const other = new FenceContext(2, "b");
    let held = reservation.lockNow();
    const refused = { code: "ERR_PROTOCOL", rule: "dma-buf R36" };
    expect(errorOf(() => reservation.addFence(held, timeline.next(), "read"))).toEqual(refused);
    reservation.reserveFences(held, 1);
    reservation.addFence(held, timeline.next(), "read");
    expect(errorOf(() => reservation.addFence(held, other.next(), "read"))).toEqual(refused);
    // Asking twice gives room for one, not for two.
    reservation.reserveFences(held, 1);
    reservation.reserveFences(held, 1);
    reservation.addFence(held, other.next(), "read");
    expect(
      errorOf(() => reservation.addFence(held, new FenceContext(3, "c").next(), "read")),
    ).toEqual(refused);
    reservation.reserveFences(held, 1);
    held.release();
    held = reservation.lockNow();
    expect(errorOf(() => reservation.addFence(held, timeline.next(), "read"))).toEqual(refused);
    expect(reservation.fences.length).toBe(2);
  });

  it("reserves whole numbers above 0 only (dma-buf R36)", () => {
    const reservation = new Reservation();
    const held = reservation.lockNow();
    for (const count of [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY]) {
      expect(errorOf(() => reservation.reserveFences(held, count))?.code).toBe("EINVAL");
    }
  });

  it("cannot be containers (dma-buf R36)", () => {
    const reservation = new Reservation();
    const held = reservation.lockNow();
    reservation.reserveFences(held, 1);
    const array = new FenceArray([new FenceContext(1, "a").next()]);
    expect(errorOf(() => reservation.addFence(held, array, "read"))?.rule).toBe("dma-buf R36");
    expect(reservation.fences).toEqual([]);
  });

  it("have one of the four usages", () => {
    const reservation = new Reservation();
    const held = reservation.lockNow();
    reservation.reserveFences(held, 1);
    const fence = new FenceContext(1, "a").next();
    expect(errorOf(() => reservation.addFence(held, fence, "exclusive" as FenceUsage))?.code).toBe(
      "EINVAL",
    );
    expect(reservation.fences).toEqual([]);
  });

  it("of one context replace each other when later and of the same or a narrower wait (dma-buf R37)", () => {
    const reservation = new Reservation();
    const held = reservation.lockNow();
    reservation.reserveFences(held, 8);
    const timeline = new FenceContext(1, "a");
    const first = timeline.next();
    const second = timeline.next();
    const third = timeline.next();
    const listed = (): string[] =>
      reservation.fences.map(({ fence, usage }) => `${String(fence.seqno)} ${usage}`);
    reservation.addFence(held, second, "read");
    reservation.addFence(held, first, "read");
    // An earlier fence does not replace a later one.
    expect(listed()).toEqual(["2 read", "1 read"]);
    reservation.addFence(held, third, "bookkeep");
    // Nor does a usage that fewer wait for.
    expect(listed()).toEqual(["2 read", "1 read", "3 bookkeep"]);
    reservation.addFence(held, second, "write");
    expect(listed()).toEqual(["2 write", "1 read", "3 bookkeep"]);
    reservation.addFence(held, second, "write");
    expect(listed()).toEqual(["2 write", "1 read", "3 bookkeep"]);
  });

  it("take the place of signalled ones of any context, in place and without a slot (dma-buf R37)", () => {
    const reservation = new Reservation();
    const held = reservation.lockNow();
    reservation.reserveFences(held, 2);
    const [a, b, c] = [1, 2, 3].map((context) => new FenceContext(context, "f").next());
    if (a === undefined || b === undefined || c === undefined) throw new Error("three fences");
    reservation.addFence(held, a, "kernel");
    reservation.addFence(held, b, "read");
    a.signal();
    reservation.addFence(held, c, "bookkeep");
    expect(reservation.fences.map(({ fence, usage }) => [fence.name, usage])).toEqual([
      [c.name, "bookkeep"],
      [b.name, "read"],
    ]);
  });

  it("are asked for by usage: it and everything before it (dma-buf R34)", () => {
    const { reservation } = withFences(["kernel", "write", "read", "bookkeep"]);
    const counts = (["kernel", "write", "read", "bookkeep"] as const).map(
      (usage) => reservation.pending(usage).length,
    );
    expect(counts).toEqual([1, 2, 3, 4]);
  });

  it("come as nothing, as themselves or as an array (dma-buf R39)", () => {
    const { reservation, fences } = withFences(["kernel", "write"]);
    expect(withFences([]).reservation.singleton("bookkeep")).toBeUndefined();
    expect(reservation.singleton("kernel")).toBe(fences[0]);
    expect(reservation.singleton("write")?.parts).toEqual(fences);
    fences[0]?.signal();
    expect(reservation.singleton("write")).toBe(fences[1]);
  });
});

describe("waiting for a reservation's fences", () => {
  it("needs no lock, and BOOKKEEP is all (dma-buf R34, R38)", async () => {
    const { reservation, fences } = withFences(["kernel", "bookkeep"]);
    const held = await reservation.lock();
    const ended: string[] = [];
    const waits = (["write", "bookkeep"] as const).map((usage) =>
      reservation.wait(usage).then(() => ended.push(usage)),
    );
    fences[0]?.signal();
    await settle();
    expect(ended).toEqual(["write"]);
    fences[1]?.signal();
    await Promise.all(waits);
    expect(ended).toEqual(["write", "bookkeep"]);
    held.release();
  });

  it("includes fences that join meanwhile (dma-buf R38)", async () => {
    const { reservation, fences } = withFences(["kernel"]);
    let done = false;
    const wait = reservation.wait("bookkeep").then(() => {
      done = true;
    });
    const held = reservation.lockNow();
    reservation.reserveFences(held, 1);
    const late = new FenceContext(9, "late").next();
    reservation.addFence(held, late, "read");
    held.release();
    fences[0]?.signal();
    await settle();
    expect(done).toBe(false);
    late.signal();
    await wait;
    expect(done).toBe(true);
  });

  it("returns what is left of the timeout, 0 when it ran out, 1 for a poll that finds nothing (dma-buf R38)", async () => {
    const { scheduler, reservation, fences } = withFences(["write"]);
    expect(await reservation.waitTimeout("kernel", 0)).toBe(1);
    expect(await reservation.waitTimeout("kernel", 500)).toBe(500);
    expect(await reservation.waitTimeout("write", 0)).toBe(0);
    const short = reservation.waitTimeout("write", 50);
    const long = reservation.waitTimeout("write", 500);
    scheduler.advance(50);
    expect(await short).toBe(0);
    scheduler.advance(50);
    fences[0]?.signal();
    expect(await long).toBe(400);
    expect((await rejectionOf(reservation.waitTimeout("write", -1)))?.code).toBe("EINVAL");
    expect((await rejectionOf(reservation.waitTimeout("write", Number.NaN)))?.code).toBe("EINVAL");
  });

  it("can be interrupted, and then changes nothing (dma-buf R38)", async () => {
    const { reservation, fences } = withFences(["kernel"]);
    const abort = new AbortController();
    const wait = reservation.wait("kernel", { signal: abort.signal });
    const timed = reservation.waitTimeout("kernel", 100, { signal: abort.signal });
    abort.abort();
    expect((await rejectionOf(wait))?.code).toBe("EINTR");
    expect((await rejectionOf(timed))?.code).toBe("EINTR");
    expect(reservation.isSignaled("kernel")).toBe(false);
    fences[0]?.signal();
    expect(reservation.isSignaled("kernel")).toBe(true);
  });

  it("runs on the reservation's clock, whatever the fence's is", async () => {
    const scheduler = new MicrotaskScheduler();
    const reservation = new Reservation({ scheduler });
    const held = reservation.lockNow();
    reservation.reserveFences(held, 1);
    reservation.addFence(
      held,
      new FenceContext(1, "elsewhere", new MicrotaskScheduler()).next(),
      "kernel",
    );
    held.release();
    const wait = reservation.wait("kernel", { deadlineUs: 5 });
    scheduler.advance(5);
    expect((await rejectionOf(wait))?.code).toBe("ETIMEDOUT");
  });
});

describe("names", () => {
  it("repeat with a fresh scheduler, so that a replay sees the same ones", () => {
    const names = (): string[] => {
      const scheduler = new MicrotaskScheduler();
      return [new Reservation({ scheduler }).name, new Reservation({ scheduler }).name];
    };
    expect(names()).toEqual(["resv1", "resv2"]);
    expect(names()).toEqual(["resv1", "resv2"]);
  });
});
