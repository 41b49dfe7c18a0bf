import { defineConfig } from "tsup";

/**
 * Shared build: ESM only, dependencies stay external. JavaScript only: `tsc` writes the declarations (task build:types),
 * so that a first `demo` need not wait for them. `clean` stays off because both write into dist.
 */
export function library(entry = { index: "src/index.ts" }, options = {}) {
  return defineConfig({
    entry,
    format: ["esm"],
    target: "node20",
    platform: "neutral",
    dts: false,
    sourcemap: true,
    clean: false,
    treeshake: true,
    ...options,
  });
}
