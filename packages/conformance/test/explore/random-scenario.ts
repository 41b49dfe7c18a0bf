import { DmaBufError, dispose, FenceContext, Lock } from "@peerbar/core";
import { type Scenario, type Stage, scenario } from "../../src/explore/index.js";
import { Random } from "../../src/explore/random.js";

/** What an actor of a made-up scenario does next. */
type Op =
  | {
      readonly op: "lock" | "try" | "flag" | "wait" | "signal" | "fence" | "add";
      readonly n: number;
    }
  | { readonly op: "read" | "copy"; readonly n: number; readonly m: number }
  | { readonly op: "pause" | "yield" | "unlock" | "defer" | "timer" | "spread" }
  | { readonly op: "deadline"; readonly n: number; readonly us: number };

/** A small scenario, the same for one seed. `outcome` is called at the end of each run with all that can be seen of it. */
export function randomScenario(seed: number, outcome: (text: string) => void): Scenario {
  const random = new Random(seed);
  const actors = 2 + random.below(2);
  const length = actors === 2 ? 4 : 3;
  const plans = Array.from({ length: actors }, () =>
    Array.from({ length: 1 + random.below(length) }, () => randomOp(random)),
  );
  const fails = random.below(3) === 0 ? random.below(7) : -1;
  return scenario(`random ${seed}: ${JSON.stringify(plans)}`, (t) => {
    const world = new World(t);
    for (const [i, plan] of plans.entries()) {
      t.actor(`actor${i}`, () => world.act(i, plan));
    }
    t.check(() => {
      const text = world.text();
      outcome(text);
      if (world.cells.reduce((sum, cell) => sum + cell, 0) % 7 === fails) throw new Error(text);
    });
  });
}

function randomOp(random: Random): Op {
  const n = random.below(2);
  const ops: readonly Op[] = [
    { op: "lock", n },
    { op: "lock", n },
    { op: "try", n },
    { op: "unlock" },
    { op: "pause" },
    { op: "yield" },
    { op: "add", n },
    { op: "read", n, m: 1 - n },
    { op: "copy", n, m: 1 - n },
    { op: "flag", n },
    { op: "wait", n },
    { op: "signal", n },
    { op: "fence", n },
    { op: "defer" },
    { op: "timer" },
    { op: "spread" },
    { op: "deadline", n, us: 5 + random.below(3) },
  ];
  return ops[random.below(ops.length)] ?? { op: "pause" };
}

/** What the actors of one run share. */
class World {
  readonly cells = [0, 0];
  readonly #stage: Stage;
  readonly #locks: readonly Lock[];
  readonly #flags;
  readonly #fences;
  readonly #logs: string[][] = [[], [], []];

  constructor(stage: Stage) {
    const { scheduler } = stage;
    this.#stage = stage;
    this.#locks = [new Lock("first", scheduler), new Lock("second", scheduler)];
    this.#flags = [stage.flag("flag0"), stage.flag("flag1")];
    const timeline = new FenceContext(1, "device", scheduler);
    this.#fences = [timeline.next(), timeline.next()];
  }

  text(): string {
    return JSON.stringify([this.cells, this.#logs]);
  }

  async act(actor: number, plan: readonly Op[]): Promise<void> {
    const held: { release(): void; of: number }[] = [];
    const log = this.#logs[actor] ?? [];
    for (const op of plan) {
      // eslint-disable-next-line @typescript-eslint/switch-exhaustiveness-check -- the rest is in #shared
      switch (op.op) {
        case "lock":
          if (!held.some(({ of }) => of === op.n)) await this.#lock(op.n, held);
          break;
        case "try": {
          const guard = this.#locks[op.n]?.tryLock();
          log.push(guard === undefined ? "busy" : "free");
          guard?.release();
          break;
        }
        case "unlock":
          held.pop()?.release();
          break;
        case "deadline":
          await this.#lockUntil(op.n, op.us, log);
          break;
        case "defer":
          this.#stage.scheduler.defer(() => {
            this.#add(0, 2);
          });
          break;
        default:
          await this.#shared(op, actor, log);
      }
    }
    for (const guard of held.reverse()) guard.release();
  }

  async #lock(of: number, held: { release(): void; of: number }[]): Promise<void> {
    const guard = await this.#locks[of]?.lock();
    if (guard !== undefined) held.push({ of, release: () => guard.release() });
  }

  async #lockUntil(n: number, us: number, log: string[]): Promise<void> {
    try {
      (await this.#locks[n]?.lock({ deadlineUs: us }))?.release();
      log.push("in time");
    } catch (error) {
      if (!(error instanceof DmaBufError)) throw error;
      log.push(error.code);
    }
  }

  async #shared(op: Op, actor: number, log: string[]): Promise<void> {
    const stage = this.#stage;
    // eslint-disable-next-line @typescript-eslint/switch-exhaustiveness-check -- the rest is in act
    switch (op.op) {
      case "pause":
        return stage.pause();
      case "yield":
        return stage.scheduler.yield({ kind: "yield", on: "loop" });
      case "add":
        this.#add(op.n, actor + 1);
        return;
      case "read":
        stage.touch(`cell${op.n}`, false);
        log.push(String(this.cells[op.n]));
        return;
      case "copy": {
        stage.touch(`cell${op.n}`, false);
        const seen = this.cells[op.n] ?? 0;
        await stage.pause();
        stage.touch(`cell${op.m}`);
        this.cells[op.m] = seen + 3;
        return;
      }
      case "flag":
        this.#flags[op.n]?.set();
        return;
      case "wait":
        log.push(String(this.#flags[op.n]?.isSet));
        return op.n === 0 ? this.#flags[0]?.wait() : undefined;
      case "signal":
        if (this.#fences[op.n]?.signaled === false) this.#fences[op.n]?.signal();
        return;
      case "fence":
        return op.n === 0 ? this.#fences[0]?.wait() : undefined;
      case "timer": {
        const timer = stage.scheduler.at(7, () => {
          this.#add(1, 5);
        });
        await stage.pause();
        timer[dispose]();
        return;
      }
      case "spread":
        await Promise.all([
          stage.pause().then(() => this.#add(0, 1)),
          stage.pause().then(() => log.push(String(this.#cell(0)))),
        ]);
        return;
      default:
    }
  }

  #add(cell: number, n: number): void {
    this.#stage.touch(`cell${cell}`);
    // Does not commute: the order of two can be told from the result.
    this.cells[cell] = (this.#cell(cell) * 3 + n) % 1000;
  }

  #cell(cell: number): number {
    this.#stage.touch(`cell${cell}`, false);
    return this.cells[cell] ?? 0;
  }
}
