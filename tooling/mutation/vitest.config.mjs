import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

/** Tests of one room as Stryker runs them, in a copy: no time limit of ours may end a slow mutant before Stryker's does. */
export default defineConfig({
  ssr: { resolve: { conditions: ["@peerbar/source", "node", "import", "default"] } },
  test: {
    include: ["test/**/*.test.ts"],
    // Bundling and reading the README prove nothing about a mutant. The two long runs of random work go through all code, for seconds each:
    // with them a mutation run takes a day, and what they alone would catch counts as not caught.
    exclude: [
      "test/**/readme.test.ts",
      "test/bundle.test.ts",
      "test/storm.test.ts",
      "test/model.property.test.ts",
      // One table of 8 million entries: seconds for each mutant of a line it goes through as often.
      "test/scatter-table-limits.test.ts",
    ],
    runner: fileURLToPath(new URL("idle-runner.mjs", import.meta.url)),
    // One worker for all files of a mutant; the next mutant gets a new one. Half the time of a worker for each file.
    isolate: false,
    testTimeout: 120_000,
  },
});
