import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { root } from "../../scripts/lib.mjs";
import { run } from "../../scripts/packages.mjs";

/** Majors that are promised. Of 20 the oldest that `engines` allows, of the others the newest. */
const promised = { 20: "20.19.0", 22: "22", 24: "24" };

/**
 * The Node runtimes to test on: the present one, and of `majors` what the registry has for this machine.
 *
 * @param {readonly string[]} majors
 * @returns {{ found: { version: string, node: string }[], missing: string[] }} sentences for those that could not be had
 */
export function runtimes(majors) {
  const found = [{ version: process.versions.node, node: process.execPath }];
  const missing = [];
  for (const major of majors) {
    const wanted = promised[major] ?? major;
    try {
      const node = install(wanted);
      const version = run([node, "--version"]).trim().slice(1);
      if (found.every((one) => one.version !== version)) found.push({ version, node });
    } catch (error) {
      const why = String(error.message).trim().split("\n").at(-1);
      missing.push(`Node ${wanted} did not run: it could not be installed (${why})`);
    }
  }
  return { found, missing };
}

/** Node as a package: the binary alone, no install script. @returns path of `node` */
function install(version) {
  const name = `node-${process.platform}-${process.arch}`;
  const folder = join(root, "node_modules/.cache/peerbar-consumer", `${name}-${version}`);
  const node = join(folder, "node_modules", name, "bin/node");
  if (!existsSync(node)) {
    mkdirSync(folder, { recursive: true });
    const quiet = ["--no-save", "--no-audit", "--no-fund", "--ignore-scripts"];
    run(["npm", "install", "--prefix", folder, ...quiet, `${name}@${version}`], { cwd: folder });
  }
  return node;
}
