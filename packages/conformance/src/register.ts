import type { ConformanceCase, Subject } from "./case.js";
import { ConformanceFailure } from "./expect.js";
import { assertGapsExist, attempt, missingCapability } from "./run.js";

/** What a test runner must offer. The functions of vitest, jest and `node:test` fit as they are. */
export interface TestApi {
  /** Groups the tests that `body` declares. */
  describe(name: string, body: () => void): unknown;
  it: TestFunction;
}

/** `it`, with the way to register a test that does not run. */
export interface TestFunction {
  (name: string, body: () => Promise<void>): unknown;
  /** Declares a test that does not run; its name says why. */
  skip(name: string, body: () => Promise<void>): unknown;
}

/**
 * Registers every case of a suite as a test of the given runner: id, title and rules are its name. Skipped cases carry the reason in
 * their name; a known gap runs and must still fail.
 *
 * @throws TypeError for a known gap that names no case of the suite.
 */
export function registerSuite<Fixture, Capability extends string>(
  api: TestApi,
  cases: readonly ConformanceCase<Fixture, Capability>[],
  subject: Subject<Fixture, Capability>,
): void {
  assertGapsExist(cases, subject);
  api.describe(`${subject.role} conformance: ${subject.name}`, () => {
    for (const one of cases) register(api.it, one, subject);
  });
}

function register<Fixture, Capability extends string>(
  it: TestFunction,
  one: ConformanceCase<Fixture, Capability>,
  subject: Subject<Fixture, Capability>,
): void {
  const name = `${one.id}: ${one.title} (${one.rules})`;
  const missing = missingCapability(one, subject);
  if (missing !== undefined) {
    it.skip(`${name} [${subject.name} has no "${missing}"]`, () => Promise.resolve());
    return;
  }
  const gap = subject.knownGaps?.[one.id];
  it(gap === undefined ? name : `${name} [known gap: ${gap}]`, async () => {
    const error = await attempt(one, subject);
    if (gap === undefined && error !== undefined) throw error;
    if (gap !== undefined && error === undefined) {
      throw new ConformanceFailure("listed in knownGaps and passes: take it off the list");
    }
  });
}
