import type { Io } from "../io.js";
import type { Style } from "../style.js";

/** One thing the demo looked at and compared. */
interface Check {
  readonly what: string;
  readonly ok: boolean;
  /** What was found, where it is not what was expected. */
  readonly found?: string;
}

export interface Step {
  readonly title: string;
  readonly facts: Record<string, unknown>;
  readonly checks: readonly Check[];
  /** Lines of the story, as printed. */
  readonly lines: readonly string[];
}

interface OpenStep {
  readonly title: string;
  readonly facts: Record<string, unknown>;
  readonly checks: Check[];
  readonly lines: string[];
}

/** A step found something else than it should: the demo ends and says which. */
export class DemoFailed extends Error {
  override readonly name = "DemoFailed";
}

/** Tells the story step by step, and keeps it for `--json`. Every step checks itself. */
export class Timeline {
  readonly #io: Io | undefined;
  readonly #style: Style;
  readonly #steps: OpenStep[] = [];
  /** Told of each step that begins. */
  onStep: (() => void) | undefined;

  /** @param io - Where to tell it; undefined keeps quiet. */
  constructor(io: Io | undefined, style: Style) {
    this.#io = io;
    this.#style = style;
  }

  get steps(): readonly Step[] {
    return this.#steps;
  }

  get checks(): number {
    return this.#steps.reduce((sum, step) => sum + step.checks.length, 0);
  }

  /** Begins a step. */
  step(title: string): void {
    this.#steps.push({ title, facts: {}, checks: [], lines: [] });
    this.onStep?.();
    const { bold, dim } = this.#style;
    this.#print(`\n${dim(`${String(this.#steps.length)}.`)} ${bold(title)}`);
  }

  /** A line of the story; `facts` go to the JSON only. */
  say(text: string, facts: Readonly<Record<string, unknown>> = {}): void {
    const step = this.#current();
    Object.assign(step.facts, facts);
    step.lines.push(text);
    this.#print(`   ${text}`);
  }

  /** Compares, tells the outcome, and ends the demo where it is wrong. */
  check(what: string, ok: boolean, found = ""): void {
    const step = this.#current();
    step.checks.push({ what, ok, ...(ok || found === "" ? {} : { found }) });
    const { good, bad } = this.#style;
    const mark = ok ? good("ok  ") : bad("FAIL");
    this.#print(`   ${mark} ${what}${ok || found === "" ? "" : ` (found: ${found})`}`);
    if (!ok) throw new DemoFailed(`step ${String(this.#steps.length)}, ${step.title}: ${what}`);
  }

  #current(): OpenStep {
    const step = this.#steps.at(-1);
    if (step === undefined) throw new Error("a timeline begins with a step");
    return step;
  }

  #print(line: string): void {
    this.#io?.out(`${line}\n`);
  }
}
