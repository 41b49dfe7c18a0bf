// Types of everything, each file once: one program for the workspace instead of one for each package, which would read its dependencies
// again. A package's own `typecheck` is for work in that package; its build checks its sources alone, against built declarations.
import { spawnSync } from "node:child_process";
import { root } from "./lib.mjs";

const programs = [
  "tooling/tsconfig/workspace.json",
  // The page: JSX, and a browser's globals.
  "apps/report/tsconfig.json",
  // Declarations that are merged into an interface count for a whole program, so those who do that have one of their own.
  "tooling/tsconfig/merging.json",
  "tooling/tsconfig/examples.json",
];
const tsc = "node_modules/typescript/bin/tsc";
for (const program of programs) {
  const { status } = spawnSync(process.execPath, [tsc, "-p", program], {
    cwd: root,
    stdio: "inherit",
  });
  if (status !== 0) process.exitCode = 1;
}
