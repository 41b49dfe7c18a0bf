import type { CaseResult, ConformanceCase, ConformanceReport, Subject } from "./case.js";
import { ConformanceFailure } from "./expect.js";
import { Turns } from "./turns.js";

/** Cases that this run leaves out. */
export interface RunOptions {
  /** Only cases whose id contains this text. */
  readonly only?: string | undefined;
}

/**
 * Runs a suite on a subject, case after case, each on a fixture of its own. Never rejects for what the subject does: failures,
 * exceptions and hangs are results.
 *
 * @throws TypeError for a known gap that names no case of the suite.
 */
export async function runSuite<Fixture, Capability extends string>(
  cases: readonly ConformanceCase<Fixture, Capability>[],
  subject: Subject<Fixture, Capability>,
  options: RunOptions = {},
): Promise<ConformanceReport> {
  assertGapsExist(cases, subject);
  const results: CaseResult[] = [];
  for (const one of cases) {
    if (options.only !== undefined && !one.id.includes(options.only)) continue;
    results.push(await runCase(one, subject));
  }
  const count = (status: CaseResult["status"]): number =>
    results.filter((result) => result.status === status).length;
  return {
    schemaVersion: 1,
    role: subject.role,
    subject: subject.name,
    passed: count("passed"),
    failed: count("failed"),
    skipped: count("skipped"),
    knownGaps: count("known-gap"),
    cases: results,
  };
}

/** @internal Runs one case to its result. */
async function runCase<Fixture, Capability extends string>(
  one: ConformanceCase<Fixture, Capability>,
  subject: Subject<Fixture, Capability>,
): Promise<CaseResult> {
  const { id, title, rules } = one;
  const missing = missingCapability(one, subject);
  if (missing !== undefined) {
    return { id, title, rules, status: "skipped", detail: `${subject.name} has no "${missing}"` };
  }
  const gap = subject.knownGaps?.[id];
  const error = await attempt(one, subject);
  if (gap === undefined) {
    return error === undefined
      ? { id, title, rules, status: "passed", detail: "" }
      : { id, title, rules, status: "failed", detail: describe(error) };
  }
  return error === undefined
    ? {
        id,
        title,
        rules,
        status: "failed",
        detail: "listed in knownGaps and passes: take it off the list",
      }
    : { id, title, rules, status: "known-gap", detail: gap };
}

/** @internal First capability that the case needs and the subject does not have. */
export function missingCapability<Capability extends string>(
  one: { readonly needs?: readonly Capability[] },
  subject: { readonly capabilities: readonly Capability[] },
): Capability | undefined {
  return one.needs?.find((need) => !subject.capabilities.includes(need));
}

/** @internal */
export function assertGapsExist(
  cases: readonly { readonly id: string }[],
  subject: { readonly name: string; readonly knownGaps?: Readonly<Record<string, string>> },
): void {
  for (const id of Object.keys(subject.knownGaps ?? {})) {
    if (!cases.some((one) => one.id === id)) {
      throw new TypeError(`knownGaps of ${subject.name}: no case is called "${id}"`);
    }
  }
}

/** @internal Runs one case; the error, or undefined where it passed. */
export async function attempt<Fixture, Capability extends string>(
  one: ConformanceCase<Fixture, Capability>,
  subject: Subject<Fixture, Capability>,
): Promise<Error | undefined> {
  const turns = new Turns(subject.turn?.bind(subject));
  try {
    const fixture = await subject.setup();
    try {
      await turns.within(one.run(fixture, turns), "the case");
    } finally {
      await subject.teardown?.(fixture);
    }
    return undefined;
  } catch (error) {
    return error instanceof Error
      ? error
      : new ConformanceFailure(`something that is no Error was thrown: ${String(error)}`);
  }
}

function describe(error: Error): string {
  return error instanceof ConformanceFailure ? error.message : `${error.name}: ${error.message}`;
}
