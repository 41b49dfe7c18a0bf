/**
 * The suites as tests of vitest, jest or `node:test`. The runner's functions are passed in, so that nothing of a runner is needed here:
 *
 * <!-- part -->
 * ```ts
 * import { describe, it } from "vitest";
 * import { importerCases } from "@peerbar/conformance";
 * import { registerSuite } from "@peerbar/conformance/vitest";
 *
 * registerSuite({ describe, it }, importerCases, subject);
 * ```
 */

export type { TestApi, TestFunction } from "./register.js";
export { registerSuite } from "./register.js";
