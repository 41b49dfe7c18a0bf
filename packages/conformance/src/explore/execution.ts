import {
  dispose,
  type LockWatch,
  type ObjectWatch,
  type Scheduler,
  type SchedulerWatch,
  type WaitPoint,
} from "@peerbar/core";
import type { FailureKind } from "./failure.js";
import type { LockEdge, LockOrder } from "./lock-order.js";
import { ACTORS, type Names, SHARED } from "./names.js";
import { Task, type TaskKind, type TaskOwner } from "./task.js";
import { type ObjectTable, TraceHash } from "./trace-hash.js";
import { type HeldLock, WatchedLock, WatchedObject, type Watcher } from "./watched.js";

/** One step that ran: what it went on from, and what it touched. */
export interface Step {
  readonly task: Task;
  /** Object number times two, plus one where it was changed. */
  readonly touched: number[];
}

/** What all runs of an exploration have in common. */
export interface AcrossRuns {
  readonly names: Names;
  readonly order: LockOrder;
  /** Numbers of what goes by a name. */
  readonly shared: Map<string, number>;
  readonly objects: ObjectTable;
}

/** What stopped a run. */
export interface RunFailure {
  readonly kind: FailureKind;
  readonly message: string;
  readonly actor: number;
  readonly detail: string | undefined;
  /** For `lock-order`: edges that other runs may have shown. */
  readonly back: readonly LockEdge[];
}

const CLOCK = "clock";
/** Place of what was made while no step ran: such a run has failed. */
const STRAY = 0;

/**
 * The scheduler of one run. Everything that waits becomes a task; nothing goes on until {@link step} picks one. It also hears of every use of
 * a lock, fence or buffer, and books it on the step that runs: only one runs at a time, so whatever happens until it stands still is its own.
 */
export class Execution implements Scheduler, SchedulerWatch, TaskOwner, Watcher {
  readonly watch: SchedulerWatch = this;
  /** Can be chosen now, by actor, then in the order they were made. */
  readonly ready: Task[] = [];
  /** Every task of the run. */
  readonly tasks: Task[] = [];
  readonly steps: Step[] = [];
  /** Locks made in this run. */
  readonly locks: WatchedLock[] = [];
  /** Of all steps that are over. */
  readonly trace: TraceHash;
  failure: RunFailure | undefined;
  /** Something ran while no step did. */
  strayed: string | undefined;
  readonly #names: Names;
  readonly #order: LockOrder;
  readonly #shared: Map<string, number>;
  /** Timers, the next first. */
  readonly #timers: Task[] = [];
  readonly #root: Task;
  readonly #ordinals = new Map<string, number>();
  readonly #clock: number;
  #recording = false;
  /** Tasks there were when the running step began. */
  #tasksBefore = 0;
  #running: Task | undefined;
  #touched: number[] = [];
  #held: HeldLock | undefined;
  #queued: WatchedLock | undefined;
  #nowUs = 0;

  constructor(across: AcrossRuns) {
    this.#names = across.names;
    this.#order = across.order;
    this.#shared = across.shared;
    this.#clock = this.#named(CLOCK);
    this.trace = new TraceHash(across.objects);
    this.#root = new Task(this, 0, SETUP_ACTOR, "start", "setup", 0, -1);
    this.#running = this.#root;
  }

  /** The task whose step runs. */
  get running(): Task | undefined {
    return this.#running;
  }

  get nowUs(): number {
    this.touch(this.#clock, false);
    return this.#nowUs;
  }

  park(point: WaitPoint): Task {
    const task = this.#make(point.kind, point.on);
    if (point.kind === "lock") {
      task.lock = this.#queued;
      this.#queued = undefined;
    }
    return task;
  }

  yield(point: WaitPoint): Promise<void> {
    const task = this.#make(point.kind, point.on);
    this.#ready(task);
    return task.promise;
  }

  /** A place where the running actor can be interrupted, at the cost of a preemption. */
  preempt(where: string): Promise<void> {
    const task = this.#make("pause", where);
    this.#ready(task);
    return task.promise;
  }

  defer(run: () => void): void {
    const task = this.#make("defer", "task work", run);
    // Work apart holds nothing of who asked for it.
    task.held = undefined;
    this.#ready(task);
  }

  at(whenUs: number, callback: () => void): Disposable {
    this.touch(this.#clock, true);
    const task = this.#make("time", `${whenUs} us`, callback, CLOCK_ACTOR);
    task.held = undefined;
    task.whenUs = whenUs;
    const timers = this.#timers;
    let place = timers.length;
    while (place > 0 && (timers[place - 1]?.whenUs ?? 0) > whenUs) place -= 1;
    timers.splice(place, 0, task);
    this.#showNextTimer();
    return {
      [dispose]: () => {
        // Also where it has fired: that it came too late is an order, too.
        this.touch(this.#clock, true);
        const at = timers.indexOf(task);
        if (at < 0) return;
        timers.splice(at, 1);
        this.#hide(task);
        task.over = true;
        this.#showNextTimer();
      },
    };
  }

  // What core tells and asks.

  ordinal(kind: string): number {
    const next = (this.#ordinals.get(kind) ?? 0) + 1;
    this.#ordinals.set(kind, next);
    return next;
  }

  lock(name: string, lockClass: string | undefined): LockWatch {
    const lock = new WatchedLock(this, this.#child(), name, lockClass ?? classOf(name));
    this.locks.push(lock);
    return lock;
  }

  object(_name: string): ObjectWatch {
    return new WatchedObject(this, this.#child());
  }

  touch(what: number | string, writes = true): void {
    if (!this.#recording) return;
    const touched = this.#touched;
    const entry = (typeof what === "number" ? what : this.#named(what)) * 2;
    for (let i = 0; i < touched.length; i++) {
      const known = touched[i];
      if (known === entry + 1) return;
      if (known === entry) {
        if (writes) touched[i] = entry + 1;
        return;
      }
    }
    touched.push(writes ? entry + 1 : entry);
  }

  attempt(lock: WatchedLock, ordered: boolean): number {
    this.touch(lock.number, true);
    if (ordered) {
      for (let held = this.#held; held !== undefined; held = held.outer) {
        if (held.lock.turn === held.turn) this.#nested(held.lock, lock);
      }
    }
    return this.#running?.actor ?? SETUP_ACTOR;
  }

  queued(lock: WatchedLock): void {
    this.#queued = lock;
  }

  takenNow(lock: WatchedLock): void {
    this.#held = { lock, turn: lock.turn, outer: this.#held };
  }

  pause(lock: WatchedLock): Promise<void> {
    const task = this.#make("locked", lock.name);
    task.held = { lock, turn: lock.turn, outer: task.held };
    this.#ready(task);
    return task.promise;
  }

  woken(task: Task): void {
    this.touch(task.number, true);
    if (task.ready || task.over) return;
    const { lock } = task;
    // A hand-over made the lock its own before it woke it.
    if (lock?.owner === task.actor && !task.failed) {
      task.held = { lock, turn: lock.turn, outer: task.held };
    }
    task.wokenBy = this.steps.length - 1;
    this.#ready(task);
  }

  // What the explorer does.

  /** Adds an actor's first task. */
  start(actor: number, name: string, run: () => void): void {
    const number = this.#actorNumber(actor);
    const task = new Task(this, number, actor, "start", name, this.tasks.length, -1, run);
    this.tasks.push(task);
    this.#ready(task);
  }

  /** From now on steps are kept, with what they touch. */
  record(recording: boolean): void {
    this.#recording = recording;
  }

  /** Runs the first promise-free part of that task's step. */
  step(task: Task): void {
    this.#hide(task);
    if (task.kind === "time") {
      this.#timers.shift();
      this.#nowUs = Math.max(this.#nowUs, task.whenUs);
      this.#showNextTimer();
    }
    this.#running = task;
    this.#held = task.held;
    this.#tasksBefore = this.tasks.length;
    if (this.#recording) {
      // An actor's own steps never commute: they share its variables.
      this.#touched = [this.#actorNumber(task.actor) * 2 + 1];
      this.steps.push({ task, touched: this.#touched });
      if (task.kind === "time") this.touch(this.#clock, true);
      this.touch(task.number, true);
    }
    task.run();
  }

  /** Nothing is left of the running step: everything stands still. */
  stand(): void {
    // What goes on no more may have been the last to act, and then no timer fires any more.
    if (this.#running !== undefined && this.tasks.length === this.#tasksBefore)
      this.touch(this.#clock, false);
    this.#running = undefined;
    const { trace, steps } = this;
    const last = steps[trace.length];
    if (last !== undefined) trace.add(last);
  }

  /** Code runs that belongs to no actor: a check. */
  resume(): void {
    this.#running = this.#root;
    this.#held = undefined;
  }

  fail(kind: FailureKind, message: string, detail?: string, back: readonly LockEdge[] = []): void {
    this.failure ??= { kind, message, detail, back, actor: this.#running?.actor ?? SETUP_ACTOR };
  }

  #nested(held: WatchedLock, wanted: WatchedLock): void {
    const inversion = this.#order.nested(held, wanted);
    if (inversion === undefined) return;
    const { edge, back } = inversion;
    const circle = [edge.held, edge.wanted, ...back.map((one) => one.wanted)].join(" -> ");
    const stacks = [edge, ...back].map(
      (one) => `${one.wanted} while holding ${one.held}:\n${one.stack}`,
    );
    this.fail("lock-order", `lock order inverted: ${circle}`, stacks.join("\n"), back);
  }

  #make(kind: TaskKind, on: string, run?: () => void, actor?: number): Task {
    const parent = this.#running;
    if (parent === undefined) {
      this.strayed ??= `${kind} ${on}`;
    }
    const by = this.#recording ? this.steps.length - 1 : -1;
    const owner = actor ?? parent?.actor ?? SETUP_ACTOR;
    const task = new Task(this, this.#child(), owner, kind, on, this.tasks.length, by, run);
    task.held = this.#held;
    this.tasks.push(task);
    return task;
  }

  #child(): number {
    const parent = this.#running;
    if (parent === undefined) return this.#names.child(SHARED, STRAY);
    parent.children += 1;
    return this.#names.child(parent.number, parent.children);
  }

  #actorNumber(actor: number): number {
    return this.#names.child(ACTORS, actor + 1);
  }

  #named(name: string): number {
    let number = this.#shared.get(name);
    if (number === undefined) {
      number = this.#names.child(SHARED, this.#shared.size + 1);
      this.#shared.set(name, number);
    }
    return number;
  }

  #ready(task: Task): void {
    task.ready = true;
    const ready = this.ready;
    let place = ready.length;
    while (place > 0) {
      const before = ready[place - 1];
      if (before === undefined || before.actor < task.actor) break;
      if (before.actor === task.actor && before.order < task.order) break;
      ready[place] = before;
      place -= 1;
    }
    ready[place] = task;
  }

  #hide(task: Task): void {
    if (!task.ready) return;
    task.ready = false;
    const ready = this.ready;
    for (let i = ready.indexOf(task); i >= 0 && i < ready.length - 1; i++) {
      const next = ready[i + 1];
      if (next !== undefined) ready[i] = next;
    }
    ready.pop();
  }

  /** Time passes in order: only the next timer can be chosen. */
  #showNextTimer(): void {
    const [next, after] = this.#timers;
    if (after?.ready === true) this.#hide(after);
    if (next !== undefined && !next.ready) this.#ready(next);
  }
}

/** The actor that lets time pass. */
export const CLOCK_ACTOR = 0xfff0;
/** The actor of what the setup left running. */
export const SETUP_ACTOR = 0xfff1;

/** Lock class of a lock that names none: its name without the digits that tell instances apart. */
function classOf(name: string): string {
  return name.replace(/[0-9a-f]*\d[0-9a-f]*/g, "#");
}
