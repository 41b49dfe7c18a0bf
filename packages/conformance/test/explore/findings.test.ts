import { DmaBuf, DmaBufError, FenceContext, Lock, Reservation, ScatterTable } from "@peerbar/core";
import { describe, expect, it } from "vitest";
import {
  explore,
  type Failure,
  replay,
  type Scenario,
  ScenarioError,
  type Stage,
  scenario,
} from "../../src/explore/index.js";

async function firstFailure(made: Scenario): Promise<Failure> {
  const { failures } = await explore(made);
  const [failure] = failures;
  if (failure === undefined) throw new Error(`"${made.name}": nothing was found`);
  return failure;
}

const of = (build: (t: Stage) => unknown, maxSteps?: number): Scenario =>
  scenario("made for this test", build, maxSteps === undefined ? {} : { maxSteps });

describe("what is found", () => {
  it("a lost wake-up: a check and a wait with a step in between", async () => {
    const failure = await firstFailure(
      of((t) => {
        const state = t.shared("state", { ready: false, wake: () => undefined as unknown });
        t.actor("waits", async () => {
          if (state.ready) return;
          await t.pause("between the look and the wait");
          const waiter = t.scheduler.park({ kind: "drain", on: "ready" });
          state.wake = () => {
            waiter.wake();
          };
          await waiter.promise;
        });
        t.actor("wakes", () => {
          state.ready = true;
          state.wake();
        });
      }),
    );
    expect(failure.kind).toBe("lost-wakeup");
    expect(failure.message).toBe("nobody is left to wake: waits waits for drain ready");
  });

  it("a fence that nobody signals, with the lock it is waited for under", async () => {
    const failure = await firstFailure(
      of((t) => {
        const fence = new FenceContext(1, "nic", t.scheduler).next();
        const resv = new Reservation({ name: "bar0", scheduler: t.scheduler });
        t.actor("reset", async () => {
          const held = await resv.lock();
          await fence.wait();
          held.release();
        });
        t.actor("importer", async () => {
          const held = await resv.lock();
          held.release();
          fence.signal();
        });
      }),
    );
    expect(failure.kind).toBe("lost-wakeup");
    expect(failure.message).toContain("importer waits for lock bar0, held by reset");
    expect(failure.message).toContain("reset waits for fence nic:1#1");
  });

  it("a sanitizer's report, with its history", async () => {
    const failure = await firstFailure(
      of((t) => {
        const buffer = t.sanitizer.buffer(
          DmaBuf.export({
            size: 0x1000n,
            scheduler: t.scheduler,
            ops: {
              name: "bar",
              offers: () => ["sgt"],
              map: () => ScatterTable.fromSpans("bus", [{ pfn: 1, pages: 1 }]),
              unmap: () => undefined,
              release: () => undefined,
            },
          }),
        );
        t.actor("maps and forgets", async () => {
          const nic = { name: "nic", pciAddress: undefined, dmaMask: 2n ** 64n - 1n };
          const attachment = buffer.attach(nic, { allowPeer2Peer: true });
          const held = await buffer.reservation.lock();
          attachment.map("bidirectional", held);
          held.release();
        });
      }),
    );
    expect(failure.kind).toBe("reported");
    expect(failure.message).toContain("sanitizer: mapping-leaked");
    expect(failure.detail).toContain("dma-buf R14");
  });

  it("an unhandled rejection, in the step that made it", async () => {
    const failure = await firstFailure(
      of((t) => {
        t.actor("careless", () => {
          void Promise.reject(new Error("nobody looks"));
        });
      }),
    );
    expect(failure).toMatchObject({ kind: "unhandled-rejection", actor: "careless" });
    expect(failure.message).toContain("nobody looks");
  });

  it("a livelock, by its bound", async () => {
    const failure = await firstFailure(
      of((t) => {
        t.actor("polls", async () => {
          for (;;) await t.scheduler.yield({ kind: "yield", on: "nothing" });
        });
      }, 50),
    );
    expect(failure.kind).toBe("livelock");
    expect(failure.message).toBe("no end after 50 steps");
    expect(failure.detail).toBe("polls at yield nothing");
  });

  it("a livelock of one who polls for what another does, without a search through every number of polls", async () => {
    const made = of((t) => {
      const state = t.shared("state", { stop: false });
      t.actor("polls", async () => {
        while (!state.stop) await t.scheduler.yield({ kind: "yield", on: "stop" });
      });
      t.actor("stops", async () => {
        await t.pause("before it stops");
        state.stop = true;
      });
    });
    const found = await explore(made);
    expect(found.failures.map(({ kind }) => kind)).toEqual(["livelock"]);
    expect(found.interleavings).toBeLessThan(100);
    const [failure] = found.failures;
    expect((await replay(made, failure?.schedule ?? "")).failure?.kind).toBe("livelock");
  });

  it("a lock that its actor took along", async () => {
    const failure = await firstFailure(
      of((t) => {
        const lock = new Lock("memory_lock", t.scheduler);
        t.actor("forgets", () => lock.lock());
      }),
    );
    expect(failure.kind).toBe("lock-leaked");
    expect(failure.message).toContain("memory_lock is still held by forgets");
  });

  it("a lock order that no run brings to a deadlock: both stacks, both places", async () => {
    const failure = await firstFailure(
      of((t) => {
        const outer = new Lock("memory_lock", t.scheduler);
        const inner = new Reservation({ scheduler: t.scheduler });
        const done = t.flag("first is done");
        const both = async (first: Lock, second: Lock): Promise<void> => {
          const one = await first.lock();
          const other = await second.lock();
          other.release();
          one.release();
        };
        t.actor("first", async () => {
          await both(outer, inner);
          done.set();
        });
        t.actor("second", async () => {
          await done.wait();
          await both(inner, outer);
        });
      }),
    );
    expect(failure.kind).toBe("lock-order");
    expect(failure.message).toBe("lock order inverted: reservation -> memory_lock -> reservation");
    expect(failure.detail).toContain("memory_lock while holding reservation:");
    expect(failure.detail).toContain("reservation while holding memory_lock:");
    expect(failure.detail?.match(/findings\.test\.ts/g)?.length).toBeGreaterThanOrEqual(2);
  });

  it("nothing in locks that are taken side by side, by try-lock, or in one order", async () => {
    const result = await explore(
      of((t) => {
        const locks = ["a", "b"].map((name) => new Lock(name, t.scheduler));
        const [a, b] = locks;
        t.actor("side by side", () =>
          Promise.all(locks.map(async (lock) => (await lock.lock()).release())),
        );
        t.actor("the other way, without waiting", async () => {
          const guard = await b?.lock();
          a?.tryLock()?.release();
          guard?.release();
        });
      }),
    );
    expect(result).toMatchObject({ verdict: "exhausted", failures: [], lockOrder: [] });
  });

  it("a deadline that fires, and one that does not: time is a choice", async () => {
    const seen = new Set<string>();
    const result = await explore(
      of((t) => {
        const lock = new Lock("busy", t.scheduler);
        t.actor("holder", async () => {
          const guard = await lock.lock();
          await t.pause();
          guard.release();
        });
        t.actor("impatient", async () => {
          try {
            (await lock.lock({ deadlineUs: 10 })).release();
            seen.add("in time");
          } catch (error) {
            seen.add(error instanceof DmaBufError ? error.code : "?");
          }
        });
      }),
    );
    expect(result.verdict).toBe("exhausted");
    expect([...seen].sort()).toEqual(["ETIMEDOUT", "in time"]);
  });
});

describe("stacks", () => {
  it.each([true, false])(
    "a failure has one though the search took none, shrunk: %s",
    async (shrink) => {
      const limit = Error.stackTraceLimit;
      const made = of((t) => {
        const state = t.shared("state", { changing: false });
        t.actor("changes", async () => {
          state.changing = true;
          await t.pause();
          state.changing = false;
        });
        t.actor("looks", function looksAtIt() {
          if (state.changing) throw new Error("half done");
        });
      });
      const { failures } = await explore(made, { shrink });
      expect(failures[0]?.detail).toContain("looksAtIt");
      expect(Error.stackTraceLimit).toBe(limit);
    },
  );
});

describe("scenarios that are wrong themselves", () => {
  it("one that shares without a word: random orders after the search tell", async () => {
    const made = of((t) => {
      let count = 0;
      for (const name of ["one", "two"]) {
        t.actor(name, async () => {
          const seen = count;
          await t.pause();
          count = seen + 1;
        });
      }
      t.check(() => {
        if (count !== 2) throw new Error(`count is ${count}`);
      });
    });
    // One class: nothing is shared, as far as is said.
    const { failures, interleavings } = await explore(made);
    expect(interleavings).toBeLessThan(3);
    expect(failures[0]?.message).toBe("check: Error: count is 1");
    expect(failures[0]?.detail).toContain("does not declare");
  });

  it("shared and not declared, though every order passes: an order that is of none of the classes that were run", async () => {
    const counted = (tells: boolean): Scenario =>
      of((t) => {
        let count = 0;
        t.actor("counts", async () => {
          if (tells) t.touch("count");
          count += 1;
          await t.pause();
          if (tells) t.touch("count");
          count -= 1;
        });
        t.actor("looks", async () => {
          if (tells) t.touch("count", false);
          if (count > 0) await t.pause("saw it");
        });
      });
    const { verdict, failures } = await explore(counted(false));
    expect(verdict).toBe("failure");
    expect(failures.map(({ kind, schedule }) => [kind, schedule])).toEqual([["undeclared", "aba"]]);
    expect(await explore(counted(true))).toMatchObject({ verdict: "exhausted", classes: 3 });
    expect(await explore(counted(false), { reduce: false })).toMatchObject({
      verdict: "exhausted",
      classes: 2,
    });
  });

  it("an actor that waits for the host is told apart, and nothing hangs", async () => {
    const failure = await firstFailure(
      of((t) => {
        t.actor("sleeps", () => new Promise((resolve) => setTimeout(resolve, 5)));
      }),
    );
    expect(failure.kind).toBe("foreign-wait");
    expect(failure.message).toContain(
      "sleeps waits for a promise that the scheduler does not know",
    );
  });

  it("an actor that throws no Error", async () => {
    const failure = await firstFailure(
      of((t) => {
        t.actor("throws", () => {
          // eslint-disable-next-line @typescript-eslint/only-throw-error -- that is the case
          throw "a word";
        });
      }),
    );
    expect(failure.message).toBe('throws threw "a word", which is no Error');
  });

  it.each<[string, (t: Stage) => unknown, RegExp]>([
    ["no actors", () => undefined, /has no actors/],
    [
      "two actors of one name",
      (t) => ["a", "a"].map((name) => t.actor(name, () => 0)),
      /two actors/,
    ],
    [
      "a setup that fails",
      () => {
        throw new Error("no BAR");
      },
      /the setup failed: Error: no BAR/,
    ],
    ["a setup that waits", (t) => t.flag("never").wait(), /the setup waits .* drain never/],
  ])("%s", async (_name, build, message) => {
    await expect(explore(of(build))).rejects.toThrow(ScenarioError);
    await expect(explore(of(build))).rejects.toThrow(message);
  });

  it("one that does not do the same thing twice", async () => {
    let runs = 0;
    const made = of((t) => {
      runs += 1;
      for (const name of ["a", "b"]) {
        t.actor(name, async () => {
          t.touch("x");
          if (runs % 2 === 0 && name === "a") return;
          await t.pause();
          t.touch("x");
        });
      }
    });
    await expect(explore(made)).rejects.toThrow(/does not do the same thing twice/);
  });

  it("no scenario at all, and options that are none", async () => {
    await expect(explore({} as Scenario)).rejects.toThrow(ScenarioError);
    const fine = of((t) => t.actor("a", () => 0));
    for (const wrong of [{ bound: -1 }, { runs: 0.5 }, { shard: { index: 2, count: 2 } }]) {
      await expect(explore(fine, wrong)).rejects.toThrow(TypeError);
    }
    await expect(replay(fine, "q")).rejects.toThrow(ScenarioError);
    await expect(replay(fine, "?")).rejects.toThrow(/is no schedule/);
  });
});

describe("strategies and schedules", () => {
  /** Goes wrong only where `late` runs between three steps of `victim`, with others in the way. */
  const rare = scenario("a rare order", (t) => {
    const log = t.shared("log", [] as string[]);
    t.actor("victim", async () => {
      for (const step of ["one", "two", "three", "four"]) {
        log.push(step);
        await t.pause();
      }
    });
    t.actor("late", async () => {
      await t.pause();
      if (log.length === 2) throw new Error("in the middle");
    });
    for (const name of ["noise", "more noise"]) {
      t.actor(name, async () => {
        for (let i = 0; i < 4; i++) await t.pause();
      });
    }
  });

  it.each(["random", "coverage"] as const)(
    "%s finds it, the same one for one seed",
    async (strategy) => {
      const options = { strategy, seed: 3, runs: 5000 };
      const once = await explore(rare, options);
      const twice = await explore(rare, options);
      expect(once.failures[0]?.kind).toBe("actor-failed");
      expect(twice).toEqual(once);
    },
  );

  it("a failure shrinks to the decisions that matter", async () => {
    const options = { strategy: "random", seed: 3, runs: 5000 } as const;
    const long = (await explore(rare, { ...options, shrink: false })).failures[0];
    const short = (await explore(rare, options)).failures[0];
    expect(short?.preemptions).toBeLessThan(long?.preemptions ?? 0);
    expect(short?.preemptions).toBe(1);
    const again = await replay(rare, short?.schedule ?? "");
    expect(again.failure?.message).toBe(short?.message);
  });

  it("coverage counts edges, and sees more of them than it has runs", async () => {
    const { edges, verdict } = await explore(rare, {
      strategy: "coverage",
      runs: 20,
      maxFailures: 99,
      shrink: false,
    });
    expect(edges).toBeGreaterThan(5);
    expect(["failure", "not-exhausted"]).toContain(verdict);
  });
});

describe("a scenario that chance decides is told so", () => {
  /** Another number in every run. */
  let runs = 0;

  it("where a failure does not show again", async () => {
    const made = of((t) => {
      runs += 1;
      const lucky = runs % 3 === 0;
      t.actor("looks", () => {
        if (lucky) throw new Error("unlucky");
      });
      t.actor("waits", () => t.pause());
    });
    await expect(explore(made)).rejects.toThrow(
      /does not do the same thing twice.*"looks: Error: unlucky" was found, and not again/,
    );
  });

  it("where an order that was run before comes to something new", async () => {
    let drawn = 0;
    const made = of((t) => {
      drawn += 1;
      t.actor("draws", () => {
        t.touch(`card ${drawn % 97}`);
      });
      t.actor("waits", () => t.pause());
    });
    await expect(explore(made)).rejects.toThrow(/does not do the same thing twice/);
  });
});

it("shared() takes maps, typed arrays and classes with private fields", async () => {
  class Counter {
    #count = 0;
    get count(): number {
      return this.#count;
    }
    add(): void {
      this.#count += 1;
    }
  }
  const made = of((t) => {
    const map = t.shared("map", new Map<string, number>());
    const bytes = t.shared("bytes", new Uint8Array(2));
    const counter = t.shared("counter", new Counter());
    for (const name of ["a", "b"]) {
      t.actor(name, () => {
        map.set(name, map.size);
        bytes[0] = (bytes[0] ?? 0) + 1;
        counter.add();
      });
    }
    t.check(() => {
      expect([map.size, bytes.length, bytes[0], counter.count]).toEqual([2, 2, 2, 2]);
    });
  });
  const { verdict, interleavings } = await explore(made);
  expect([verdict, interleavings]).toEqual(["exhausted", 2]);
});
