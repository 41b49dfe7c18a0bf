import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { pnpm, run } from "../../scripts/packages.mjs";
import { programs } from "./readme.mjs";

const project = fileURLToPath(new URL("../project", import.meta.url));
const quiet = ["--no-audit", "--no-fund", "--ignore-scripts"];

/**
 * A fresh folder with the packed packages installed from their tarballs, nothing else, and this folder's project in it.
 *
 * @param {"npm" | "pnpm"} manager
 * @param {readonly { name: string, file: string }[]} packed
 * @param {Record<string, string>} others - further packages, by version
 * @returns the folder
 */
export function freshFolder(parent, manager, packed, others) {
  const folder = join(parent, manager);
  cpSync(project, folder, { recursive: true });
  const tarballs = Object.fromEntries(packed.map(({ name, file }) => [name, `file:${file}`]));
  const manifest = {
    name: "a-consumer",
    private: true,
    type: "module",
    dependencies: tarballs,
    devDependencies: others,
    // The versions that the packages name of each other are not on a registry yet.
    ...(manager === "pnpm" ? { pnpm: { overrides: tarballs } } : {}),
  };
  writeFileSync(join(folder, "package.json"), `${JSON.stringify(manifest, undefined, 2)}\n`);
  if (manager === "npm") {
    run(["npm", "install", ...quiet], { cwd: folder });
  } else {
    // Without hoisting a package sees what it declares and nothing else.
    writeFileSync(join(folder, ".npmrc"), "hoist=false\n");
    writeFileSync(join(folder, "pnpm-workspace.yaml"), "packages: []\n");
    pnpm(["install", "--ignore-scripts", "--no-frozen-lockfile"], { cwd: folder });
  }
  return folder;
}

/**
 * Writes the programs of every installed package's README into `programs/` of the folder.
 *
 * @returns {{ name: string, prints: string[] }[]} name: of the file, without its ending
 */
export function writePrograms(folder, packed) {
  mkdirSync(join(folder, "programs"), { recursive: true });
  return packed.flatMap((one) => {
    const path = join(folder, "node_modules", one.name, "README.md");
    if (!existsSync(path)) return []; // cannot be released like that: tooling/scripts/release.mjs
    return programs(readFileSync(path, "utf8")).map(({ line, code, prints }) => {
      const name = `${one.name.replace(/^@/, "").replace("/", "-")}-${line}`;
      // A program without an import or export would share its names with the others.
      writeFileSync(join(folder, "programs", `${name}.ts`), `${code}\nexport {};\n`);
      return { name, prints };
    });
  });
}
