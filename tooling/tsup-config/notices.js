import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";

const rule = "=".repeat(80);

/** The folder of the package that a file is in, where that is a package of somebody else's: the last one below node_modules. */
const packageFolder = /^.*\/node_modules\/(?:@[^/]+\/)?[^/]+(?=\/)/;

/**
 * Packages of others that have code in what esbuild wrote, by its metafile. Files of which nothing is left do not count.
 *
 * @param {import("esbuild").Metafile} metafile
 * @param {string} base - folder that the metafile's paths begin at
 * @returns {{ name: string, version: string, license: string, text: string }[]} sorted by name
 * @throws Error where a package says no licence or has no licence text: its terms cannot be passed on
 */
export function bundledPackages(metafile, base = process.cwd()) {
  const folders = new Set();
  for (const { inputs } of Object.values(metafile.outputs)) {
    for (const [path, { bytesInOutput }] of Object.entries(inputs)) {
      const folder = bytesInOutput > 0 ? packageFolder.exec(resolve(base, path))?.[0] : undefined;
      if (folder !== undefined) folders.add(folder);
    }
  }
  return merged([...folders].map(read));
}

/** Packages of several bundles as one list: each name and version once, sorted. */
export function merged(...lists) {
  const byName = new Map(lists.flat().map((one) => [`${one.name} ${one.version}`, one]));
  return [...byName.keys()].sort().map((key) => byName.get(key));
}

function read(folder) {
  const { name, version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  if (typeof license !== "string") throw new Error(`${name}@${version} names no licence`);
  const files = readdirSync(folder);
  const file = files.find((one) => /^(licen[cs]e|copying)([.-]|$)/i.test(one));
  if (file === undefined) throw new Error(`${name}@${version} has no licence text to pass on`);
  // Apache-2.0 asks for the NOTICE too, where there is one.
  const text = [file, ...files.filter((one) => /^notice([.-]|$)/i.test(one))]
    .map((one) => readFileSync(join(folder, one), "utf8").replace(/\r\n?/g, "\n").trim())
    .join("\n\n");
  return { name, version, license, text };
}

/** A heading for each package, `name version (licence)` between two rules, then its licence word for word. */
export function noticesText(packages) {
  return packages
    .map(
      ({ name, version, license, text }) =>
        `${rule}\n${name} ${version} (${license})\n${rule}\n\n${text}\n`,
    )
    .join("\n");
}

/** What {@link noticesText} was made of. */
export function parseNotices(notices) {
  const heading = new RegExp(`^${rule}\\n(\\S+) (\\S+) \\((.+)\\)\\n${rule}$`, "gm");
  const found = [...notices.matchAll(heading)];
  return found.map(({ index, 0: whole, 1: name, 2: version, 3: license }, i) => {
    const text = notices.slice(index + whole.length, found[i + 1]?.index).trim();
    return { name, version, license, text };
  });
}

/**
 * An esbuild plugin that hands over, after each build, the packages of others that are in it.
 *
 * @param {(packages: ReturnType<typeof bundledPackages>) => void} use
 */
export function onBundled(use) {
  return {
    name: "bundled-packages",
    setup(build) {
      build.initialOptions.metafile = true;
      build.onEnd(({ metafile, errors }) => {
        if (errors.length > 0) return;
        use(bundledPackages(metafile, build.initialOptions.absWorkingDir));
      });
    },
  };
}
