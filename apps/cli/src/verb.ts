import type { ExitCode } from "./exit.js";
import type { Io } from "./io.js";

/** What the shell may offer after an option or as an argument (`peerbar completion`). */
type Completes = "file" | "directory" | "function" | "edit" | "move" | "class" | readonly string[];

export interface OptionSpec {
  /** As commander takes it: `-F, --file <capture>`. */
  readonly flags: string;
  readonly description: string;
  readonly completes?: Completes;
  /** May be given more than once: its value is then a list. */
  readonly repeats?: true;
}

export interface ArgumentSpec {
  /** `<provider>`, or `[shell]` where it may be left out. */
  readonly name: string;
  readonly description: string;
  readonly completes?: Completes;
}

/** Values of options, by camelCase name. Each verb's own module says which it knows. */
export type OptionValues = Readonly<Record<string, unknown>>;

/**
 * One verb as data: the command line parser, `--help` and shell completion are made from it. `run` imports the verb's module when it
 * is asked for, so that a command pays for no other.
 */
export interface Verb {
  readonly name: string;
  readonly summary: string;
  /** Paragraphs of `--help`, between the summary and the examples. */
  readonly details?: readonly string[];
  readonly arguments?: readonly ArgumentSpec[];
  readonly options: readonly OptionSpec[];
  /** Command lines without the program's name, and what each shows. */
  readonly examples: readonly (readonly [string, string])[];
  readonly hidden?: true;
  run(io: Io, options: OptionValues, args: readonly string[]): Promise<ExitCode>;
}
