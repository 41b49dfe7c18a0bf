import { isDmaBufError } from "@peerbar/core";

export { generateServer, toCapture } from "../src/index.js";

/** A DmaBufError as plain properties, for matching. */
export function isDmaBufErrorLike(value: unknown): value is Record<string, unknown> {
  return isDmaBufError(value);
}
