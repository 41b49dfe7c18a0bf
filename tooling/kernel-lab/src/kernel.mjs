import { createHash } from "node:crypto";
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { availableParallelism } from "node:os";
import { join, resolve } from "node:path";
import { debianSource } from "./debian-source.mjs";
import { missingOptions } from "./kernel-config.mjs";
import { withLock } from "./lock.mjs";
import { cacheFolder, room } from "./paths.mjs";
import { installRequirements } from "./requirements.mjs";
import { run } from "./run.mjs";
import { LabError, Progress, say } from "./say.mjs";

/** @typedef {{ image: string, build: string | undefined, version: string, key: string }} Kernel `build` is the tree for modules */

const fragmentFile = join(room, "kernel/lab.config");
const STAMP = "ready.json";
/** Rough number of steps of a build, for the progress line alone. */
const STEPS = 2300;

/**
 * The kernel to boot: the user's own (KERNEL_IMAGE, with KERNEL_BUILD where modules are wanted), one built from the user's source
 * (KERNEL_SRC), or one built from Debian's newest source. Builds are kept in the cache by version and configuration.
 *
 * @param {{ refresh?: boolean, cachedOnly?: boolean }} [options] refresh: look for a newer source even where a kernel is at hand;
 *   cachedOnly: build nothing, and give undefined where nothing is built
 * @returns {Promise<Kernel | undefined>}
 */
export async function findKernel(options = {}) {
  const image = process.env.KERNEL_IMAGE;
  if (image) return givenImage(resolve(image));
  const source = process.env.KERNEL_SRC;
  if (source) {
    const folder = resolve(source);
    if (!existsSync(join(folder, "Kconfig"))) {
      throw new LabError(`KERNEL_SRC=${source} is not a kernel tree (no Kconfig in it)`, 2);
    }
    if (!options.cachedOnly) installRequirements(["build", "boot"]);
    return build(folder, await sourceVersion(folder));
  }
  if (options.cachedOnly) return newestCached();
  if (!options.refresh) {
    const cached = newestCached();
    if (cached !== undefined) return cached;
  }
  installRequirements(["build", "boot"]);
  const { folder, version } = debianSource();
  return build(folder, version);
}

/** What a build is kept under: version, configuration and source tree. */
export function kernelKey(version, fragment, folder) {
  const hash = createHash("sha256").update(fragment).update("\0").update(folder).digest("hex");
  return `${version}-${hash.slice(0, 12)}`;
}

function givenImage(image) {
  if (!existsSync(image)) throw new LabError(`KERNEL_IMAGE=${image} does not exist`, 2);
  const build = process.env.KERNEL_BUILD ? resolve(process.env.KERNEL_BUILD) : undefined;
  if (build !== undefined && !existsSync(join(build, "Module.symvers"))) {
    throw new LabError(
      `KERNEL_BUILD=${build} has no Module.symvers: it is not a built kernel tree`,
      2,
    );
  }
  const stat = statSync(image);
  const key = createHash("sha256")
    .update(`${image} ${stat.size} ${stat.mtimeMs} ${build}`)
    .digest("hex")
    .slice(0, 12);
  return { image, build, version: "given", key };
}

/** The newest kernel in the cache that was built with today's fragment. */
function newestCached() {
  const fragment = hashOf(fragmentFile);
  const kernels = cacheFolder("kernels");
  return readdirSync(kernels)
    .map((name) => readStamp(join(kernels, name)))
    .filter(
      (stamp) =>
        stamp !== undefined &&
        stamp.fragment === fragment &&
        existsSync(stamp.image) &&
        stamp.debian,
    )
    .sort((a, b) => b.built - a.built)[0];
}

function readStamp(folder) {
  try {
    return JSON.parse(readFileSync(join(folder, STAMP), "utf8"));
  } catch {
    return undefined;
  }
}

function hashOf(path) {
  return createHash("sha256").update(readFileSync(path)).digest("hex");
}

async function sourceVersion(folder) {
  const { status, output } = await run("make", ["-s", "-C", folder, "kernelversion"]);
  const version = /^(\d+)\.(\d+)\S*$/m.exec(output);
  if (status !== 0 || version === null)
    throw new LabError(`no kernel version in ${folder}: ${output.trim()}`, 2);
  const [text, major, minor] = version;
  if (Number(major) > 6 || (Number(major) === 6 && Number(minor) >= 19)) return text;
  throw new LabError(`${folder} is Linux ${text}; dma-buf export by vfio-pci begins with 6.19`, 2);
}

/** @returns {Promise<Kernel>} */
async function build(source, version) {
  const key = kernelKey(version, readFileSync(fragmentFile, "utf8"), source);
  const folder = cacheFolder("kernels", key);
  return withLock(folder, async () => {
    const done = readStamp(folder);
    if (done !== undefined && existsSync(done.image)) return done;
    await configure(source, folder);
    await compile(source, folder);
    const kernel = {
      image: join(folder, "arch/x86/boot/bzImage"),
      build: folder,
      version,
      key,
      fragment: hashOf(fragmentFile),
      debian: process.env.KERNEL_SRC === undefined,
      built: Date.now(),
    };
    writeFileSync(join(folder, STAMP), JSON.stringify(kernel, null, 2));
    return kernel;
  });
}

/** tinyconfig, our fragment, olddefconfig; then each option of the fragment must really be set. */
async function configure(source, folder) {
  mkdirSync(folder, { recursive: true });
  const make = async (goal) => {
    const { status, output } = await run("make", ["-s", "-C", source, `O=${folder}`, goal]);
    if (status !== 0) throw new LabError(`make ${goal} failed:\n${tail(output)}`);
  };
  await make("tinyconfig");
  const fragment = readFileSync(fragmentFile, "utf8");
  appendFileSync(join(folder, ".config"), fragment);
  await make("olddefconfig");
  const missing = missingOptions(fragment, readFileSync(join(folder, ".config"), "utf8"));
  if (missing.length === 0) return;
  const list = missing
    .map((entry) => `${entry.option}: wanted ${entry.wanted}, got ${entry.got}`)
    .join("\n  ");
  throw new LabError(
    `this kernel does not take options that the lab needs (a dependency is missing, or the name changed):\n  ${list}`,
  );
}

async function compile(source, folder) {
  let steps = 0;
  const jobs = process.env.PEERBAR_LAB_JOBS ?? `${availableParallelism()}`;
  const progress = new Progress(
    `building Linux in ${folder} with -j${jobs} (once; 6 minutes with two idle cores)`,
    () => `${Math.min(99, Math.round((100 * steps) / STEPS))} %`,
  );
  const log = join(folder, "build.log");
  writeFileSync(log, "");
  const { status, output } = await run(
    "make",
    ["-C", source, `O=${folder}`, `-j${jobs}`, "bzImage", "modules"],
    {
      onLine: (line) => {
        if (/^ {2}[A-Z]/.test(line)) steps += 1;
        appendFileSync(log, `${line}\n`);
      },
    },
  );
  progress.end(status === 0 ? "done" : "failed");
  if (status !== 0)
    throw new LabError(`the kernel does not build; all of it is in ${log}:\n${tail(output)}`);
  say(`steps: ${steps}`);
}

function tail(output) {
  return output
    .trim()
    .split("\n")
    .slice(-15)
    .map((line) => `  ${line}`)
    .join("\n");
}
