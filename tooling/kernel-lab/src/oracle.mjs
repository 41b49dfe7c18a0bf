import { createHash } from "node:crypto";
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { withLock } from "./lock.mjs";
import { cacheFolder, room } from "./paths.mjs";
import { installRequirements } from "./requirements.mjs";
import { run } from "./run.mjs";
import { LabError, Progress } from "./say.mjs";

const sources = join(room, "oracle");

/**
 * The oracle module for a kernel, built out of tree where it is not in the cache.
 *
 * @param {import("./kernel.mjs").Kernel} kernel
 * @returns {Promise<string | undefined>} path of the module; undefined where the kernel came without a tree to build against
 */
export async function oracleModule(kernel) {
  if (kernel.build === undefined) return undefined;
  const names = readdirSync(sources)
    .filter((name) => /\.[ch]$|^Kbuild$/.test(name))
    .sort();
  const hash = createHash("sha256").update(kernel.key);
  for (const name of names) hash.update(name).update(readFileSync(join(sources, name)));
  const folder = cacheFolder("oracle");
  const module = join(folder, `${hash.digest("hex").slice(0, 16)}.ko`);
  if (existsSync(module)) return module;
  installRequirements(["build"]);
  return withLock(folder, async () => {
    const scratch = join(folder, "build");
    rmSync(scratch, { recursive: true, force: true });
    mkdirSync(scratch);
    for (const name of names) copyFileSync(join(sources, name), join(scratch, name));
    const progress = new Progress("building the oracle module");
    const { status, output } = await run("make", ["-C", kernel.build, `M=${scratch}`, "modules"]);
    progress.end(status === 0 ? "done" : "failed");
    if (status !== 0)
      throw new LabError(`the oracle does not build against ${kernel.build}:\n${output.trim()}`);
    copyFileSync(join(scratch, "peerbar_oracle.ko"), module);
    return module;
  });
}
