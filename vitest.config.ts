import { defineConfig } from "vitest/config";

export default defineConfig({
  ssr: { resolve: { conditions: ["@peerbar/source", "node", "import", "default"] } },
  test: {
    projects: ["packages/*", "apps/*", "tooling/*/vitest.config.{ts,mjs}"],
    reporters: ["default", "@peerbar/vitest-config/summary"],
    coverage: { provider: "v8", include: ["packages/*/src/**", "apps/*/src/**"] },
  },
});
