import type { DmaBufEvent, EventSink, Scheduler, Waiter } from "@peerbar/core";
import { formatDefect } from "../sanitize/report.js";
import { Sanitizer } from "../sanitize/sanitizer.js";
import { CLOCK_ACTOR, type Execution } from "./execution.js";
import { ScenarioError } from "./failure.js";
import type { Flag, Stage } from "./scenario.js";
import { MAX_ACTORS } from "./schedule.js";

/** One actor of a run. */
export interface Actor {
  readonly name: string;
  readonly run: () => unknown;
  ended: boolean;
}

/** Name of an actor for people. */
export function nameOf(actor: number, actors: readonly Actor[]): string {
  return actors[actor]?.name ?? (actor === CLOCK_ACTOR ? "time" : "setup");
}

/** What a scenario's `build` gets: collects its actors and checks. */
export class RunStage implements Stage {
  readonly scheduler: Scheduler;
  readonly events: EventSink;
  readonly actors: Actor[] = [];
  readonly checks: (() => unknown)[] = [];
  readonly #execution: Execution;
  #sanitizer: Sanitizer | undefined;
  #building = true;

  constructor(execution: Execution, onEvent: ((event: DmaBufEvent) => void) | undefined) {
    this.#execution = execution;
    this.scheduler = execution;
    this.events = { emit: onEvent ?? ignore };
  }

  get sanitizer(): Sanitizer {
    if (this.#sanitizer === undefined) {
      const sanitizer = new Sanitizer({
        onReport: (report) => {
          this.fail(`sanitizer: ${report.defect} of ${report.subject}`, formatDefect(report));
        },
      });
      this.#sanitizer = sanitizer;
      this.checks.push(() => sanitizer.finish());
    }
    return this.#sanitizer;
  }

  /** Setup is over: no more actors. */
  seal(): void {
    this.#building = false;
  }

  actor(name: string, run: () => unknown): void {
    if (!this.#building) throw new ScenarioError(`actor "${name}" was added after the setup`);
    if (typeof run !== "function") throw new ScenarioError(`actor "${name}" is no function`);
    if (this.actors.some((other) => other.name === name)) {
      throw new ScenarioError(`two actors are called "${name}"`);
    }
    if (this.actors.length === MAX_ACTORS) {
      throw new ScenarioError(`more than ${MAX_ACTORS} actors`);
    }
    this.actors.push({ name, run, ended: false });
  }

  check(run: () => unknown): void {
    this.checks.push(run);
  }

  fail(message: string, detail?: string): void {
    this.#execution.fail("reported", message, detail);
  }

  pause(where = "pause"): Promise<void> {
    return this.#execution.preempt(where);
  }

  touch(name: string, writes = true): void {
    this.#execution.touch(name, writes);
  }

  shared<T extends object>(name: string, object: T): T {
    const execution = this.#execution;
    return new Proxy(object, {
      // Getters and methods get the object itself: maps, typed arrays and private fields know no proxy.
      get(target, key): unknown {
        execution.touch(name, false);
        const value: unknown = Reflect.get(target, key);
        // Methods of arrays, maps and sets may change what they are called on.
        if (typeof value !== "function") return value;
        return (...given: unknown[]): unknown => {
          execution.touch(name, true);
          return Reflect.apply(value, target, given) as unknown;
        };
      },
      set(target, key, value): boolean {
        execution.touch(name, true);
        return Reflect.set(target, key, value);
      },
      has(target, key): boolean {
        execution.touch(name, false);
        return Reflect.has(target, key);
      },
      ownKeys(target): (string | symbol)[] {
        execution.touch(name, false);
        return Reflect.ownKeys(target);
      },
      deleteProperty(target, key): boolean {
        execution.touch(name, true);
        return Reflect.deleteProperty(target, key);
      },
    });
  }

  flag(name: string): Flag {
    return new RunFlag(this.#execution, name);
  }
}

class RunFlag implements Flag {
  readonly #execution: Execution;
  readonly #name: string;
  readonly #object;
  #set = false;
  #waiting: Waiter[] = [];

  constructor(execution: Execution, name: string) {
    this.#execution = execution;
    this.#name = name;
    this.#object = execution.object(name);
  }

  get isSet(): boolean {
    this.#object.touch(false);
    return this.#set;
  }

  set(): void {
    this.#object.touch(true);
    this.#set = true;
    for (const waiter of this.#waiting.splice(0)) waiter.wake();
  }

  async wait(): Promise<void> {
    if (this.isSet) return;
    const waiter = this.#execution.park({ kind: "drain", on: this.#name });
    this.#waiting.push(waiter);
    await waiter.promise;
  }
}

function ignore(): void {
  // Nobody looks at this run's events.
}
