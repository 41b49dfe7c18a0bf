import { defineConfig } from "vitest/config";

/** Tests of one room as Stryker runs them, in a copy: no time limit of ours may end a slow mutant before Stryker's does. */
export default defineConfig({
  ssr: { resolve: { conditions: ["@peerbar/source", "node", "import", "default"] } },
  test: {
    include: ["test/**/*.test.ts"],
    exclude: ["test/**/readme.test.ts", "test/bundle.test.ts"],
    testTimeout: 120_000,
  },
});
