import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { root } from "./lib.mjs";

/**
 * Every package that is published, by name: folder and manifest.
 *
 * @returns {{ folder: string, manifest: Record<string, any> }[]}
 */
export function publicPackages() {
  return ["packages", "apps"]
    .flatMap((group) => readdirSync(join(root, group)).map((name) => join(root, group, name)))
    .filter((folder) => existsSync(join(folder, "package.json")))
    .map((folder) => ({
      folder,
      manifest: JSON.parse(readFileSync(join(folder, "package.json"), "utf8")),
    }))
    .filter(({ manifest }) => manifest.private !== true)
    .sort((a, b) => (a.manifest.name < b.manifest.name ? -1 : 1));
}

/** Runs this repository's pnpm, in the version that `packageManager` names. @returns stdout */
export function pnpm(args, options = {}) {
  const { npm_execpath: running } = process.env;
  const { packageManager } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  const command = running?.includes("pnpm")
    ? [process.execPath, running]
    : ["npx", "--yes", packageManager];
  return run([...command, ...args], { cwd: root, ...options });
}

/**
 * Runs a program to its end. @returns stdout
 * @throws Error with the program's output where it fails.
 */
export function run([program, ...args], options = {}) {
  const result = spawnSync(program, args, {
    encoding: "utf8",
    maxBuffer: 256 * 1024 * 1024,
    ...options,
    env: { ...process.env, NO_COLOR: "1", FORCE_COLOR: undefined, ...options.env },
  });
  if (result.error) throw result.error;
  if (result.status !== 0) {
    const what = [program, ...args].join(" ");
    throw new Error(
      `exit ${result.status ?? result.signal}: ${what}\n${result.stdout}${result.stderr}`,
    );
  }
  return result.stdout;
}

/** Builds every published package, and what it needs: JavaScript and declarations, only what is stale. */
export function buildAll() {
  pnpm(["run", "build", ...publicPackages().map(({ manifest }) => `--filter=${manifest.name}`)]);
}

/**
 * Packs every published package as `pnpm publish` would send it.
 *
 * @returns {{ name: string, version: string, file: string }[]} with the path of each tarball
 */
export function packAll(into) {
  mkdirSync(into, { recursive: true });
  const filters = publicPackages().map(({ manifest }) => `--filter=${manifest.name}`);
  pnpm(["-r", ...filters, "pack", "--pack-destination", into]);
  return packedIn(into);
}

/** The tarballs of published packages in a folder. @throws Error where one is missing */
export function packedIn(folder) {
  return publicPackages().map(({ manifest: { name, version } }) => {
    const file = join(folder, `${name.replace(/^@/, "").replace("/", "-")}-${version}.tgz`);
    if (!existsSync(file)) throw new Error(`${file} is missing: pack again`);
    return { name, version, file };
  });
}
