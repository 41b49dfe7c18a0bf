import { defineProject } from "vitest/config";

/** Tests of one room, read from sources (export condition `@peerbar/source`): no build first. */
export function project(name) {
  return defineProject({
    ssr: { resolve: { conditions: ["@peerbar/source", "node", "import", "default"] } },
    test: { name, include: ["test/**/*.test.ts"] },
  });
}
