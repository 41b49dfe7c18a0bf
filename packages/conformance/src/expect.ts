import { type DmaBufError, type DmaBufErrorCode, isDmaBufError } from "@peerbar/core";

/** A subject broke a rule. The message says what was expected and what was seen. */
export class ConformanceFailure extends Error {
  override readonly name = "ConformanceFailure";
}

/** @throws ConformanceFailure with `message` unless `condition` holds. */
export function check(condition: boolean, message: string): asserts condition {
  if (!condition) throw new ConformanceFailure(message);
}

/** @throws ConformanceFailure naming both values where they differ. Numbers, bigints, strings, booleans, identities. */
export function equal(actual: unknown, expected: unknown, what: string): void {
  if (!Object.is(actual, expected)) {
    throw new ConformanceFailure(`${what}: expected ${show(expected)}, got ${show(actual)}`);
  }
}

/**
 * Runs `action`, which must throw or reject with one of `codes`.
 *
 * @returns the error, for a look at its message or rule.
 * @throws ConformanceFailure where it succeeds, or fails otherwise.
 */
export async function expectErrno(
  action: () => unknown,
  codes: DmaBufErrorCode | readonly DmaBufErrorCode[],
  what: string,
): Promise<DmaBufError> {
  const expected = typeof codes === "string" ? [codes] : codes;
  let result: unknown;
  try {
    result = await action();
  } catch (error) {
    if (isDmaBufError(error) && expected.includes(error.code)) return error;
    throw new ConformanceFailure(`${what}: expected ${expected.join(" or ")}, got ${show(error)}`, {
      cause: error,
    });
  }
  throw new ConformanceFailure(
    `${what}: expected ${expected.join(" or ")}, got success${result === undefined ? "" : ` (${show(result)})`}`,
  );
}

/**
 * Runs `action`, which must break the contract: a protocol violation, or an error of the given rule.
 *
 * @param rule - the rule that the violation must name: `"dma-buf R16"`.
 */
export async function expectViolation(
  action: () => unknown,
  rule: string,
  what: string,
): Promise<void> {
  const error = await expectErrno(action, ["ERR_PROTOCOL", "EDEADLK"], what);
  equal(error.rule, rule, `${what}: rule named`);
}

/** A value in a message: errors by code and text, bigints in hex. */
export function show(value: unknown): string {
  if (typeof value === "bigint") return `0x${value.toString(16)}`;
  if (value instanceof Error) return `${value.name} "${value.message}"`;
  if (typeof value === "string") return JSON.stringify(value);
  if (typeof value === "object" && value !== null) return value.constructor.name;
  return String(value);
}
