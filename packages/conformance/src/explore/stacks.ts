/** V8's; others have no such limit, and nothing is changed there. */
const host = Error as { stackTraceLimit?: number };
/** The host's limit while a search has taken it away. */
let normal: number | undefined;

/**
 * Errors have no stack from now on: capturing one costs more than all else that an error does, and a search makes many that nobody looks at.
 * What fails is run again with stacks.
 */
export function takeStacks(): void {
  if (typeof host.stackTraceLimit !== "number") return;
  normal ??= host.stackTraceLimit;
  host.stackTraceLimit = 0;
}

/** Errors have stacks again. */
export function giveStacks(): void {
  if (normal === undefined) return;
  host.stackTraceLimit = normal;
  normal = undefined;
}

/** Where the caller is, whether or not errors have stacks now. */
export function stackHere(frames: number): string {
  const before = host.stackTraceLimit;
  if (before !== undefined) host.stackTraceLimit = frames;
  const { stack = "" } = new Error("here");
  if (before !== undefined) host.stackTraceLimit = before;
  return stack.split("\n").slice(1).join("\n");
}
