import type { AbortSignalLike } from "@peerbar/core";
import { Bounded } from "./bounded.js";
import { CoverageGuided } from "./coverage.js";
import { Exhaustive } from "./exhaustive.js";
import { type Failure, type FailureKind, notTwice } from "./failure.js";
import { HashTable } from "./hash-table.js";
import { Prefixes } from "./prefixes.js";
import { RandomOrders } from "./random.js";
import { failureFrom, failureOf } from "./replay.js";
import { type Outcome, Runner } from "./runner.js";
import type { Scenario } from "./scenario.js";
import { Script } from "./script.js";
import { repeat, shrink } from "./shrink.js";
import { Starve } from "./starve.js";
import type { Shard, Strategy } from "./strategy.js";

/**
 * `exhaustive`: every order, depth first. `random`: each with the same chance at each point. `coverage`: random, but going on from runs that
 * showed something new.
 */
export const strategies = ["exhaustive", "random", "coverage"] as const;
/** One of {@link strategies}. */
export type StrategyName = (typeof strategies)[number];

/** How to explore. */
export interface ExploreOptions {
  /** `exhaustive` by default. */
  readonly strategy?: StrategyName | undefined;
  /** For `exhaustive`: preemptions at most in one order. Unbounded by default. */
  readonly bound?: number | undefined;
  /** Orders run to their end, at most; 1 000 000 by default. */
  readonly runs?: number | undefined;
  /** For `random` and `coverage`. 1 by default. */
  readonly seed?: number | undefined;
  /** The part to explore; all by default. */
  readonly shard?: Shard | undefined;
  /** False runs equivalent orders too: to check the explorer itself. */
  readonly reduce?: boolean | undefined;
  /** Stops after so many failures that differ in kind or message; 1 by default. */
  readonly maxFailures?: number | undefined;
  /** False reports failures by the schedule they were found with. */
  readonly shrink?: boolean | undefined;
  /** Told now and then how far it is. */
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  /** Ends the exploration early; the result says that it was not exhausted. */
  readonly signal?: AbortSignalLike | undefined;
}

/** How far an exploration is. */
export interface Progress {
  /** Orders run to their end, so far. */
  readonly interleavings: number;
  /** Steps run in all of them. */
  readonly steps: number;
  /** Different failures found so far. */
  readonly failures: number;
  /** From 0 to 1: an estimate, by the branches seen so far; undefined for searches without an end. */
  readonly share: number | undefined;
}

/**
 * What may be said: `exhausted`, every order was run up to order of steps that commute; `proven-to-bound`, every order with at most `bound`
 * preemptions; `not-exhausted`, no failure among the orders run, which says nothing of the others.
 */
export type Verdict = "failure" | "exhausted" | "proven-to-bound" | "not-exhausted";

/** What an exploration came to. JSON as it stands. */
export interface Exploration {
  readonly schemaVersion: 1;
  readonly scenario: string;
  readonly strategy: StrategyName;
  /** Preemptions at most in one order; null: no bound. */
  readonly bound: number | null;
  /** Of the pseudo-random choices; null for exhaustive search. */
  readonly seed: number | null;
  /** Parts this result is of: all of 0 to `count` - 1 for the whole. */
  readonly shards: { readonly count: number; readonly done: readonly number[] };
  readonly verdict: Verdict;
  /** Orders run to their end. */
  readonly interleavings: number;
  /** Runs cut short: everything they could still have done was seen, or is another shard's. */
  readonly pruned: number;
  /** Steps of all runs, the pruned ones included. */
  readonly steps: number;
  /** Distinct ways to the end, up to order of steps that commute. */
  readonly classes: number;
  /** Distinct states come to: what had happened, up to order of steps that commute. */
  readonly states: number;
  /** False where `classes` and `states` may count one twice: a table was full, or shards were added up. */
  readonly countsExact: boolean;
  /** Pairs of steps seen one after the other on one object, for `coverage`. */
  readonly edges: number | null;
  /** Most preemptions in one order that was run. */
  readonly maxPreemptions: number;
  /** Every order within the bound was run. */
  readonly exhausted: boolean;
  /** The bound kept orders out. */
  readonly bounded: boolean;
  readonly failures: readonly Failure[];
  /** Lock classes taken inside each other: `[held, wanted]`. */
  readonly lockOrder: readonly (readonly [string, string])[];
}

const RUNS = 1_000_000;
/** A run longer than this may be one that polls: it is asked whether it would ever end, then again at twice the length. */
const LONG_RUN = 64;
/** What the host brings about, at a time of its own: it need not show again in the same order. */
const OF_THE_HOST: readonly FailureKind[] = ["unhandled-rejection", "foreign-wait"];
const NOT_AGAIN = "it did not show again in the same order";
/** Random orders that check an exhausted search: so many at least, and one in so many of its own. */
const AUDIT_RUNS = 64;
const AUDIT_SHARE = 16;
const AUDIT_SEED = 0x5eed;
const UNDECLARED =
  "found by a random order after every declared one had passed: the scenario shares something that it does not declare with touch() or shared()";
const UNSEEN =
  "actors share something that is no lock, fence or buffer and that nobody tells of: this order does what no order that was run had done";
const UNSEEN_HINT =
  "tell of it with touch() or shared(), a package with scheduler.watch; until then a bound or the random strategy says more";
const PROGRESS_EVERY = 256;
/** Beginnings per shard, so that the parts come out about even. */
const PREFIXES_PER_SHARD = 8;
const LONGEST_PREFIX = 12;

/**
 * Runs the scenario in many orders and reports what it finds.
 *
 * @throws ScenarioError where the scenario cannot be explored; TypeError for options that are none.
 */
export async function explore(
  scenario: Scenario,
  options: ExploreOptions = {},
): Promise<Exploration> {
  checkOptions(options);
  const runner = new Runner(scenario, false);
  runner.open();
  try {
    const exploring = new Exploring(runner, await strategyFor(scenario, options), options);
    await exploring.run();
    return exploring.result();
  } finally {
    runner.close();
  }
}

/** One exploration as it goes. */
class Exploring {
  readonly #runner: Runner;
  readonly #strategy: Strategy;
  readonly #options: ExploreOptions;
  readonly #failures: Failure[] = [];
  readonly #states = new HashTable();
  readonly #ends = new HashTable();
  #interleavings = 0;
  #pruned = 0;
  #steps = 0;
  #maxPreemptions = 0;
  #longRun = LONG_RUN;

  constructor(runner: Runner, strategy: Strategy, options: ExploreOptions) {
    this.#runner = runner;
    this.#strategy = strategy;
    this.#options = options;
    const keep = (low: number, high: number): void => {
      this.#states.set(low, high, 0);
    };
    runner.onState = keep;
  }

  async run(): Promise<void> {
    const { runs = RUNS, maxFailures = 1, signal, onProgress } = this.#options;
    const limit = limitOf(runs, this.#options);
    for (let i = 1; this.#interleavings < limit && this.#failures.length < maxFailures; i++) {
      if (signal?.aborted === true || !this.#strategy.next()) break;
      await this.#once();
      if (i % PROGRESS_EVERY === 0) onProgress?.(this.#progress());
    }
    // The last order may have been the last there is.
    if (this.#failures.length < maxFailures && signal?.aborted !== true) this.#strategy.next();
    const { exhausted, bounded } = this.#strategy;
    if (exhausted && !bounded && this.#failures.length === 0) await this.#audit();
    onProgress?.(this.#progress());
  }

  /**
   * Pruning trusts what the scenario and the packages in it declare. Some random orders, pruned ones among them, may show that something is
   * shared without anybody saying so: they fail though every class has passed, or they are of a class that was not run.
   */
  async #audit(): Promise<void> {
    const { reduce, shard } = this.#options;
    if (reduce === false) return;
    const orders = new RandomOrders(AUDIT_SEED, shard?.index ?? 0, shard?.count ?? 1);
    const runs = Math.max(AUDIT_RUNS, Math.ceil(this.#interleavings / AUDIT_SHARE));
    this.#runner.onState = undefined;
    for (let i = 0; i < runs && orders.next() && this.#failures.length === 0; i++) {
      const outcome = await this.#runner.run(orders);
      await this.#keepFailure(outcome, UNDECLARED);
      // A shard knows its own classes alone, a full table not even those.
      if (shard === undefined && !this.#ends.lossy) await this.#keepUnseen(outcome);
    }
  }

  async #keepUnseen(outcome: Outcome): Promise<void> {
    const { low, high } = outcome.execution.trace;
    if (this.#failures.length > 0 || this.#ends.get(low, high) >= 0) return;
    const { trace } = (await this.#runner.run(new Script(outcome.moves, false))).execution;
    if (trace.low !== low || trace.high !== high) throw notTwice();
    this.#failures.push(failureFrom(outcome, "undeclared", UNSEEN, UNSEEN_HINT));
  }

  result(): Exploration {
    const { strategy = "exhaustive", bound, seed = 1, shard } = this.#options;
    const { exhausted, bounded } = this.#strategy;
    const exhaustive = strategy === "exhaustive";
    return {
      schemaVersion: 1,
      scenario: this.#runner.scenario.name,
      strategy,
      bound: bound ?? null,
      seed: exhaustive ? null : seed,
      shards: { count: shard?.count ?? 1, done: [shard?.index ?? 0] },
      verdict: verdictOf(this.#failures.length, exhausted, bounded),
      interleavings: this.#interleavings,
      pruned: this.#pruned,
      steps: this.#steps,
      classes: this.#ends.added,
      states: this.#states.added,
      countsExact: !this.#states.lossy && !this.#ends.lossy,
      edges: this.#strategy instanceof CoverageGuided ? this.#strategy.covered : null,
      maxPreemptions: this.#maxPreemptions,
      exhausted,
      bounded,
      failures: this.#failures,
      lockOrder: this.#runner.order.edges.map(({ held, wanted }) => [held, wanted]),
    };
  }

  async #once(): Promise<void> {
    const outcome = await this.#runner.run(this.#strategy);
    this.#strategy.ended(outcome);
    this.#steps += outcome.execution.steps.length;
    if (!outcome.complete) this.#pruned += 1;
    if (outcome.complete && this.#strategy.mine) {
      this.#interleavings += 1;
      const { low, high } = outcome.execution.trace;
      this.#ends.set(low, high, 0);
      this.#maxPreemptions = Math.max(this.#maxPreemptions, outcome.preemptions);
    }
    await this.#keepFailure(outcome);
    if (outcome.execution.steps.length > this.#longRun) await this.#starve(outcome);
  }

  async #starve(outcome: Outcome): Promise<void> {
    this.#longRun = outcome.execution.steps.length * 2;
    const { onState } = this.#runner;
    this.#runner.onState = undefined;
    const starved = await this.#runner.run(new Starve(outcome));
    this.#runner.onState = onState;
    // The search comes to everything else by itself.
    if (starved.execution.failure?.kind === "livelock") await this.#keepFailure(starved);
  }

  /** Also of a run that is another shard's: an inverted lock order shows only once. */
  async #keepFailure(outcome: Outcome, note = ""): Promise<void> {
    const failure = failureOf(outcome);
    if (failure === undefined) return;
    if (
      this.#failures.some((one) => one.kind === failure.kind && one.message === failure.message)
    ) {
      return;
    }
    const again = this.#options.shrink === false ? repeat : shrink;
    const smaller = await again(this.#runner.scenario, outcome);
    const kept = (smaller === undefined ? undefined : failureOf(smaller)) ?? failure;
    const notes = [note];
    // By itself it may show as another: a lock order that two runs contradict needs both.
    if (smaller === undefined && !(await this.#failsAgain(outcome))) {
      if (!OF_THE_HOST.includes(failure.kind)) throw notTwice(failure.message);
      notes.push(NOT_AGAIN);
    }
    const detail = [...notes, kept.detail ?? ""].filter((line) => line !== "");
    this.#failures.push({ ...kept, detail: detail.length === 0 ? null : detail.join("\n") });
  }

  async #failsAgain(outcome: Outcome): Promise<boolean> {
    if (outcome.execution.failure?.kind === "lock-order") return true;
    const { execution } = await this.#runner.run(new Script(outcome.moves, false));
    return execution.failure !== undefined;
  }

  #progress(): Progress {
    return {
      interleavings: this.#interleavings,
      steps: this.#steps,
      failures: this.#failures.length,
      share: this.#strategy.progress,
    };
  }
}

/** What may be said of a search. */
export function verdictOf(failures: number, exhausted: boolean, bounded: boolean): Verdict {
  if (failures > 0) return "failure";
  if (!exhausted) return "not-exhausted";
  return bounded ? "proven-to-bound" : "exhausted";
}

async function strategyFor(scenario: Scenario, options: ExploreOptions): Promise<Strategy> {
  const { strategy = "exhaustive", seed = 1, shard = WHOLE } = options;
  switch (strategy) {
    case "random":
      return new RandomOrders(seed, shard.index, shard.count);
    case "coverage":
      return new CoverageGuided(seed * 0x1_0000 + shard.index);
    case "exhaustive":
      return search(options, new Prefixes(await prefixDepth(scenario, options), shard));
  }
}

function search({ bound, reduce = true }: ExploreOptions, prefixes: Prefixes): Strategy {
  return bound === undefined
    ? new Exhaustive(reduce, prefixes)
    : new Bounded(bound, reduce, prefixes);
}

const WHOLE: Shard = { index: 0, count: 1 };
const NOBODY: Shard = { index: -1, count: 1 };

/** Steps of the beginnings that are dealt out: as many as give every shard some. */
async function prefixDepth(scenario: Scenario, options: ExploreOptions): Promise<number> {
  const { shard } = options;
  if (shard === undefined || shard.count === 1) return 0;
  const runner = new Runner(scenario, false);
  for (let depth = 1; depth < LONGEST_PREFIX; depth++) {
    const prefixes = new Prefixes(depth, NOBODY);
    const strategy = search(options, prefixes);
    while (strategy.next()) strategy.ended(await runner.run(strategy));
    if (prefixes.found >= shard.count * PREFIXES_PER_SHARD) return depth;
  }
  return LONGEST_PREFIX;
}

/** Orders that this shard runs at most. */
function limitOf(runs: number, { strategy, shard }: ExploreOptions): number {
  if (shard === undefined || strategy === undefined || strategy === "exhaustive") return runs;
  return Math.ceil((runs - shard.index) / shard.count);
}

function checkOptions({ strategy, bound, runs, seed, shard, maxFailures }: ExploreOptions): void {
  if (strategy !== undefined && !strategies.includes(strategy)) {
    throw new TypeError(`no strategy "${strategy as string}": ${strategies.join(", ")}`);
  }
  for (const [name, value] of Object.entries({ bound, runs, seed, maxFailures })) {
    if (value !== undefined && !(Number.isSafeInteger(value) && value >= 0)) {
      throw new TypeError(`${name} ${String(value)} is no whole number from 0`);
    }
  }
  if (bound !== undefined && strategy !== undefined && strategy !== "exhaustive") {
    throw new TypeError(`a bound is for the exhaustive strategy, not for ${strategy}`);
  }
  if (shard !== undefined && !(shard.index >= 0 && shard.index < shard.count)) {
    throw new TypeError(`no shard ${shard.index} of ${shard.count}`);
  }
}
