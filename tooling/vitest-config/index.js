import { defineProject } from "vitest/config";

/** Tests of one room, read from sources (export condition `@peerbar/source`): no build first. */
export function project(name) {
  return defineProject({
    ssr: { resolve: { conditions: ["@peerbar/source", "node", "import", "default"] } },
    // The limit only ends what hangs: property tests on a busy machine may take long, and no test asserts a time.
    test: { name, include: ["test/**/*.test.ts"], testTimeout: 120_000 },
  });
}
