/**
 * The suites as tests of vitest, jest or `node:test`. The runner's functions are passed in, so that nothing of a runner is needed here:
 *
 * ```ts
 * import { describe, it } from "vitest";
 * import { conformanceTests } from "@peerbar/conformance/vitest";
 *
 * conformanceTests({ describe, it }, subject);
 * ```
 */

export type { TestApi, TestFunction } from "./register.js";
export { registerSuite } from "./register.js";
