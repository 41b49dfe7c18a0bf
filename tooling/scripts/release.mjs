// Makes a release: checks, builds afresh, packs every package, writes an SBOM, and publishes.
//
//   pnpm release --dry-run [--out release]   everything but publishing; what would be published is in the folder
//   pnpm release                             in the release workflow: publishes what the registry does not have yet
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { root } from "./lib.mjs";
import { buildAll, packAll, pnpm, publicPackages, run } from "./packages.mjs";
import { writeSbom } from "./sbom.mjs";

const { values } = parseArgs({
  options: {
    "dry-run": { type: "boolean", default: false },
    out: { type: "string", default: join(root, "release") },
  },
});
const out = resolve(values.out);
const packages = publicPackages();

const pending = readdirSync(join(root, ".changeset")).filter((name) => name.endsWith(".md"));
const unfolded = pending.map(
  (name) => `.changeset/${name} is in no version yet: pnpm version-packages`,
);
if (values["dry-run"]) for (const line of unfolded) console.log(`note: ${line}`);
const problems = packages.flatMap(({ folder, manifest }) => beforeBuild(folder, manifest));
if (!values["dry-run"]) problems.push(...unfolded);
if (problems.length > 0) stop(problems);
for (const { folder } of packages) rmSync(join(folder, "dist"), { recursive: true, force: true });
console.log("building afresh ...");
buildAll();
rmSync(out, { recursive: true, force: true });
mkdirSync(out, { recursive: true });
const packed = packAll(out);
const wrong = packed.flatMap(inTarball);
if (wrong.length > 0) stop(wrong);
for (const { name, version, file } of packed) {
  const bytes = readFileSync(file);
  const sum = createHash("sha512").update(bytes).digest("base64");
  console.log(`${name}@${version}  ${(bytes.length / 1024).toFixed(0)} KiB  sha512-${sum}`);
}
console.log(`SBOM: ${writeSbom(out, packed)} components in ${join(out, "sbom.cdx.json")}`);

if (values["dry-run"]) {
  console.log(`dry run: ${packed.length} tarballs in ${out}; nothing was published`);
} else {
  const { GITHUB_ACTIONS: workflow } = process.env;
  if (workflow === undefined) {
    stop(["publishing is for the release workflow, which proves where a package was built"]);
  }
  console.log(pnpm(["exec", "changeset", "publish"], { env: { NPM_CONFIG_PROVENANCE: "true" } }));
}

/** What must be right before anything is built. */
function beforeBuild(folder, { name, version }) {
  const found = [];
  if (version !== packages[0].manifest.version)
    found.push(`${name} is ${version}: versions differ`);
  for (const file of ["README.md", "LICENSE", "CHANGELOG.md"]) {
    if (!existsSync(join(folder, file))) found.push(`${name} has no ${file}`);
  }
  if (existsSync(join(folder, "CHANGELOG.md"))) {
    const log = readFileSync(join(folder, "CHANGELOG.md"), "utf8");
    if (!log.includes(`\n## ${version}\n`)) found.push(`${name}: no ${version} in CHANGELOG.md`);
  }
  return found;
}

/** What a published package must have and must not. */
function inTarball({ name, file }) {
  const list = run(["tar", "-tzf", file]).trim().split("\n");
  const manifest = JSON.parse(run(["tar", "-xzOf", file, "package/package.json"]));
  const found = [];
  const bundle = manifest.bin === undefined ? [] : ["THIRD-PARTY-NOTICES"];
  for (const needed of ["LICENSE", "README.md", "CHANGELOG.md", "package.json", ...bundle]) {
    if (!list.includes(`package/${needed}`)) found.push(`${name}: ${needed} is not packed`);
  }
  for (const path of targetsOf(manifest)) {
    if (!path.includes("*") && !list.includes(`package/${path}`)) {
      found.push(`${name}: ${path} is named in package.json and not packed`);
    }
  }
  for (const path of list.filter((path) => /\.js$/.test(path) && path.includes("/dist/"))) {
    if (!list.includes(`${path}.map`)) found.push(`${name}: ${path} has no source map`);
  }
  const text = JSON.stringify(manifest);
  if (/"workspace:/.test(text)) found.push(`${name}: a workspace: range is packed`);
  if (text.includes("@peerbar/source")) found.push(`${name}: the sources' condition is packed`);
  return found;
}

/** Files that package.json points to. */
function targetsOf({ exports = {}, bin = {} }) {
  const targets = [...Object.values(exports), ...Object.values(bin)];
  return targets
    .flatMap((target) => (typeof target === "string" ? [target] : Object.values(target)))
    .map((path) => path.replace(/^\.\//, ""));
}

function stop(lines) {
  for (const line of lines) console.error(`release: ${line}`);
  process.exit(1);
}
