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

/**
 * An app: everything inside, read from the packages' sources, so that it needs no other build. Start-up is what a command line tool is
 * judged by, and one file loads faster than a hundred.
 */
export function app(entry = { main: "src/main.ts" }, options = {}) {
  return library(entry, {
    platform: "node",
    noExternal: [/./],
    // esbuild shakes the tree itself; the second pass by rollup takes CommonJS modules apart.
    treeshake: false,
    clean: true,
    esbuildOptions: (esbuild) => {
      esbuild.conditions = ["@peerbar/source"];
    },
    banner: {
      // CommonJS dependencies ask for Node's own modules through require.
      js: 'import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);',
    },
    ...options,
  });
}
