import { defineConfig } from "vitest/config";

const ssr = { resolve: { conditions: ["@peerbar/source", "node", "import", "default"] } };

export default defineConfig({
  ssr,
  test: {
    projects: [
      "packages/*",
      "apps/*",
      "tooling/*/vitest.config.{ts,mjs}",
      // Examples and templates have no configuration of this workspace, so that they can be copied as they are.
      {
        ssr,
        test: {
          name: "examples",
          include: ["examples/*/test/**/*.test.ts", "apps/cli/templates/*/test/**/*.test.ts"],
          testTimeout: 120_000,
        },
      },
    ],
    globalSetup: ["@peerbar/vitest-config/scratch", "@peerbar/vitest-config/topologies"],
    reporters: ["default", "@peerbar/vitest-config/summary"],
    coverage: { provider: "v8", include: ["packages/*/src/**", "apps/*/src/**"] },
  },
});
