import { defineConfig } from "vitest/config";

/** Tests inside the lab's machine: emulated processors are slow, so one worker, no isolation, and limits that only end what hangs. */
export default defineConfig({
  cacheDir: "/tmp/vite",
  ssr: { resolve: { conditions: ["@peerbar/source", "node", "import", "default"] } },
  test: {
    include: ["**/*.test.ts", "**/*.lab.ts"],
    pool: "threads",
    maxWorkers: 1,
    isolate: false,
    fileParallelism: false,
    testTimeout: 300_000,
    hookTimeout: 300_000,
    reporters: ["verbose"],
  },
});
