import { defineProject } from "vitest/config";

/** What can be tested outside the lab's machine; the tests for its inside are in lab/. */
export default defineProject({
  ssr: { resolve: { conditions: ["@peerbar/source", "node", "import", "default"] } },
  test: { name: "kernel-lab", include: ["test/**/*.test.{ts,mjs}"], testTimeout: 120_000 },
});
