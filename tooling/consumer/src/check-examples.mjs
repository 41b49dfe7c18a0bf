import { cpSync, readdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { root } from "../../scripts/lib.mjs";
import { checkProject } from "./check-new.mjs";

/** Examples, copied out of the workspace, against the packed packages. @param only - names, or undefined for all */
export async function checkExamples(checks, place, modules, only) {
  const all = readdirSync(join(root, "examples")).sort();
  for (const name of only ?? all) {
    const folder = join(place, "examples", name);
    const source = join(root, "examples", name);
    cpSync(source, folder, { recursive: true, filter: (path) => !path.includes("node_modules") });
    symlinkSync(modules, join(folder, "node_modules"));
    await checkProject(checks, `examples/${name}`, folder);
  }
}
