import type { DmaBufEvent } from "@peerbar/core";
import { type AcrossRuns, Execution } from "./execution.js";
import { ScenarioError } from "./failure.js";
import { LockOrder } from "./lock-order.js";
import { Names } from "./names.js";
import { catchRejections } from "./rejections.js";
import type { Scenario } from "./scenario.js";
import { defaultChoice, formatSchedule, type Move, moveOf, preemptions } from "./schedule.js";
import { giveStacks, takeStacks } from "./stacks.js";
import { type Actor, nameOf, RunStage } from "./stage.js";
import { StepLoop } from "./step-loop.js";
import { describeStuck } from "./stuck.js";
import type { Task } from "./task.js";
import { ObjectTable } from "./trace-hash.js";

/** A strategy's answer that this run is not worth going on with. */
export const CUT = -1;

/** Decides one run. */
export interface Chooser {
  /** Index in `execution.ready` of the task that goes on, or {@link CUT}. Asked before every step, forced ones included. */
  choose(execution: Execution, last: Task | undefined): number;
}

/** A run that has ended. */
export interface Outcome {
  readonly execution: Execution;
  readonly actors: readonly Actor[];
  /** False where the strategy cut it short. */
  readonly complete: boolean;
  readonly preemptions: number;
  /** Decisions at every point with a choice, up to the last that the default order would not have made. */
  readonly moves: readonly Move[];
}

const MAX_STEPS = 10_000;

/** Runs a scenario once at a time, each time from the start, with somebody else deciding. */
export class Runner {
  readonly scenario: Scenario;
  readonly order = new LockOrder();
  readonly #loop = new StepLoop();
  readonly #stacks: boolean;
  readonly #across: AcrossRuns;
  #current: Execution | undefined;
  #free: (() => void) | undefined;
  /** Told of the events of each run, where set. */
  onEvent: ((event: DmaBufEvent, execution: Execution) => void) | undefined;

  /** Told of each state a run comes to, by its two hashes. */
  onState: ((low: number, high: number) => void) | undefined;

  /** @param stacks - false for a search: errors then have no stack, which makes them cheap. */
  constructor(scenario: Scenario, stacks = true) {
    checkScenario(scenario);
    this.scenario = scenario;
    this.#stacks = stacks;
    this.#across = {
      names: new Names(),
      order: this.order,
      shared: new Map(),
      objects: new ObjectTable(),
    };
  }

  /** From now on rejections nobody handles are findings of the run that goes on. */
  open(): void {
    this.#free ??= catchRejections((reason) => {
      this.#current?.fail(
        "unhandled-rejection",
        `nobody handles: ${textOf(reason)}`,
        stackOf(reason),
      );
    });
  }

  /** Gives such rejections back to the host. */
  close(): void {
    this.#free?.();
    this.#free = undefined;
  }

  /** One run. @throws ScenarioError where the scenario itself is broken. */
  run(chooser: Chooser): Promise<Outcome> {
    return new Promise((resolve, reject) => {
      const execution = new Execution(this.#across);
      const run = new Run(this, execution, chooser);
      this.#current = execution;
      const tick = (): boolean => {
        if (this.#stacks) giveStacks();
        else takeStacks();
        try {
          return run.tick();
        } catch (error) {
          run.broken = error instanceof Error ? error : new Error(textOf(error));
          return false;
        }
      };
      void this.#loop
        .run(tick, () => {
          giveStacks();
          run.stand();
        })
        .then(() => {
          giveStacks();
          const outcome = run.outcome();
          this.order.runEnded(() => formatSchedule(outcome.moves));
          if (run.broken === undefined) resolve(outcome);
          else reject(run.broken);
        });
    });
  }
}

type Phase = "setup" | "building" | "acting" | "checking" | "over";

/** The states one run goes through, one step a tick. */
class Run {
  broken: Error | undefined;
  readonly #scenario: Scenario;
  readonly #execution: Execution;
  readonly #chooser: Chooser;
  readonly #stage: RunStage;
  readonly #maxSteps: number;
  readonly #onState: Runner["onState"];
  readonly #moves: Move[] = [];
  #phase: Phase = "setup";
  #settled = false;
  #checked = 0;
  /** Decisions that matter: later ones are what the default would have been. */
  #decided = 0;
  #left = 0;
  #last: Task | undefined;
  #preemptions = 0;
  #complete = true;

  constructor({ scenario, onEvent, onState }: Runner, execution: Execution, chooser: Chooser) {
    this.#scenario = scenario;
    this.#onState = onState;
    this.#execution = execution;
    this.#chooser = chooser;
    this.#maxSteps = scenario.maxSteps ?? MAX_STEPS;
    const tell =
      onEvent === undefined
        ? undefined
        : (event: DmaBufEvent): void => {
            onEvent(event, execution);
          };
    this.#stage = new RunStage(execution, tell);
  }

  outcome(): Outcome {
    return {
      execution: this.#execution,
      actors: this.#stage.actors,
      complete: this.#complete,
      preemptions: this.#preemptions,
      moves: this.#moves.slice(0, this.#decided),
    };
  }

  /** The step that ran is over. */
  stand(): void {
    if (this.#phase === "setup") return;
    const { trace } = this.#execution;
    const before = trace.length;
    this.#execution.stand();
    if (trace.length > before) this.#onState?.(trace.low, trace.high);
  }

  /** Ends the step before and begins the next. False when the run is over. */
  tick(): boolean {
    const execution = this.#execution;
    this.stand();
    if (execution.strayed !== undefined) {
      throw new ScenarioError(
        `"${this.#scenario.name}": ${execution.strayed} outside of any step: an actor was woken by something other than the scheduler`,
      );
    }
    if (execution.failure !== undefined) return false;
    switch (this.#phase) {
      case "setup":
        this.#build();
        return true;
      case "building":
        if (this.#settled) this.#begin();
        else this.#goOn("the setup");
        return true;
      case "acting":
        return this.#act();
      case "checking":
        return this.#check();
      case "over":
        return false;
    }
  }

  #build(): void {
    this.#phase = "building";
    const failed = (error: unknown): void => {
      if (error instanceof ScenarioError) this.broken = error;
      else
        this.broken = new ScenarioError(
          `"${this.#scenario.name}": the setup failed: ${textOf(error)}`,
          { cause: error },
        );
    };
    void settle(() => this.#scenario.build(this.#stage), failed).then(() => {
      this.#settled = true;
    });
  }

  /** Setup and checks are not explored: what is ready runs, first come, first served. */
  #goOn(what: string): void {
    if (this.broken !== undefined) throw this.broken;
    const { ready } = this.#execution;
    const [next] = ready;
    if (next === undefined) {
      throw new ScenarioError(
        `"${this.#scenario.name}": ${what} waits for something that never comes: ${describeStuck(this.#execution, []).message}`,
      );
    }
    this.#execution.step(next);
  }

  #begin(): void {
    if (this.broken !== undefined) throw this.broken;
    const { actors } = this.#stage;
    this.#stage.seal();
    if (actors.length === 0) throw new ScenarioError(`"${this.#scenario.name}" has no actors`);
    this.#left = actors.length;
    for (const [index, actor] of actors.entries()) this.#start(actor, index);
    this.#execution.record(true);
    this.#phase = "acting";
  }

  #start(actor: Actor, index: number): void {
    const execution = this.#execution;
    execution.start(index, actor.name, () => {
      const failed = (error: unknown): void => {
        const message =
          error instanceof Error
            ? `${actor.name}: ${textOf(error)}`
            : `${actor.name} threw ${textOf(error)}, which is no Error`;
        execution.fail("actor-failed", message, stackOf(error));
      };
      void settle(actor.run, failed).then(() => {
        actor.ended = true;
        this.#left -= 1;
      });
    });
  }

  #act(): boolean {
    const execution = this.#execution;
    const { ready } = execution;
    const onlyTime = ready.length === 1 && ready[0]?.kind === "time";
    if (ready.length === 0 || (this.#left === 0 && onlyTime)) {
      this.#endActing();
      return true;
    }
    if (execution.steps.length >= this.#maxSteps) {
      const busy = ready.map(
        (task) => `${nameOf(task.actor, this.#stage.actors)} at ${task.kind} ${task.on}`,
      );
      execution.fail("livelock", `no end after ${this.#maxSteps} steps`, busy.join("\n"));
      return false;
    }
    const index = this.#chooser.choose(execution, this.#last);
    const task = ready[index];
    if (task === undefined) {
      this.#complete = false;
      return false;
    }
    if (ready.length > 1) {
      this.#moves.push(moveOf(ready, index));
      if (index !== defaultChoice(ready, this.#last)) this.#decided = this.#moves.length;
      this.#preemptions += preemptions(ready, index, this.#last);
    }
    this.#last = task;
    execution.step(task);
    return true;
  }

  #endActing(): void {
    const execution = this.#execution;
    const { actors } = this.#stage;
    const leaked = execution.locks.find(({ owner }) => owner >= 0);
    const stuck =
      this.#left > 0 ||
      execution.tasks.some((task) => !task.over && !task.ready && task.kind !== "time");
    if (stuck) {
      const { kind, message, detail } = describeStuck(execution, actors);
      execution.fail(kind, message, detail);
    } else if (leaked !== undefined) {
      const who = nameOf(leaked.owner, actors);
      execution.fail("lock-leaked", `lock ${leaked.name} is still held by ${who}, which has ended`);
    }
    execution.record(false);
    this.#settled = true;
    this.#phase = "checking";
  }

  #check(): boolean {
    if (!this.#settled) {
      this.#goOn("a check");
      return true;
    }
    const check = this.#stage.checks[this.#checked];
    if (check === undefined) return false;
    this.#checked += 1;
    this.#settled = false;
    const failed = (error: unknown): void => {
      this.#execution.fail("check-failed", `check: ${textOf(error)}`, stackOf(error));
    };
    this.#execution.resume();
    void settle(check, failed).then(() => {
      this.#settled = true;
    });
    return true;
  }
}

/** Runs it now; resolves whatever happens, after telling of a failure. */
async function settle(run: () => unknown, failed: (error: unknown) => void): Promise<void> {
  try {
    await run();
  } catch (error) {
    failed(error);
  }
}

function checkScenario(scenario: Scenario): void {
  const given = scenario as Partial<Scenario> | null | undefined;
  if (typeof given?.name !== "string" || typeof given.build !== "function") {
    throw new ScenarioError("not a scenario: make one with scenario(name, build)");
  }
}

function textOf(error: unknown): string {
  if (error instanceof Error) return `${error.name}: ${error.message}`;
  return typeof error === "string" ? `"${error}"` : String(error);
}

function stackOf(error: unknown): string | undefined {
  return error instanceof Error ? error.stack : undefined;
}
