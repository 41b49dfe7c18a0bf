/**
 * Which rules of docs/rules no test cites. Exits with 1 where there is one that is not excused either, and where a test or a source cites a
 * rule that does not exist. `--spec NAME` shows one file of rules alone.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { citationsIn, citedRules, compactRules, definedRules, excusedRules } from "./citations.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const root = resolve(here, "../..");
const folder = join(root, "docs/rules");
/** Ids that each file of rules defines. */
const rules = new Map(
  readdirSync(folder)
    .filter((name) => name.endsWith(".md") && name !== "README.md")
    .map((name) => [name.slice(0, -3), definedRules(readFileSync(join(folder, name), "utf8"))]),
);
const specs = [...rules.keys()];
const args = process.argv.slice(2);
const only = args.includes("--spec") ? args[args.indexOf("--spec") + 1] : undefined;
const problems = [];

const { cited, excused } = scan();
for (const [spec, ids] of rules) if (only === undefined || only === spec) report(spec, ids);
for (const problem of problems) console.error(`rules: ${problem}`);
process.exitCode = problems.length > 0 ? 1 : 0;

/** Every citation of a test with the files it is in, and the rules that are excused. */
function scan() {
  const cited = new Map();
  const excused = new Set();
  for (const path of sources("test")) {
    const text = readFileSync(path, "utf8");
    if (path.endsWith(".md")) {
      for (const { spec, id } of excusedRules(text, specs)) excused.add(`${spec} ${id}`);
      continue;
    }
    note(cited, citedRules(text, specs), path);
  }
  const told = new Map(cited);
  for (const path of sources("src"))
    note(told, citationsIn(readFileSync(path, "utf8"), specs), path);
  for (const [key, files] of told) {
    const [spec, id] = key.split(" ");
    if (rules.get(spec)?.includes(id) === true) continue;
    problems.push(`${key} does not exist, cited in ${[...files].join(", ")}`);
  }
  return { cited, excused };
}

function note(into, citations, path) {
  for (const { spec, id } of citations) {
    const key = `${spec} ${id}`;
    into.set(key, new Set(into.get(key)).add(relative(root, path)));
  }
}

/** Files of every room: its tests, or its sources. The conformance suites are both. */
function sources(part) {
  const rooms = ["packages", "apps"].flatMap((group) =>
    readdirSync(join(root, group)).map((room) => join(root, group, room, part)),
  );
  const suites = part === "test" ? [join(root, "packages/conformance/src")] : [];
  return [...rooms, ...suites]
    .filter((path) => existsSync(path))
    .flatMap((path) => filesBelow(path))
    .filter((path) => /\.[cm]?tsx?$/.test(path) || path.endsWith("not-applicable.md"));
}

/** Files in a folder and below; installed packages are links that lead back here. */
function filesBelow(folder) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((item) => {
    const path = join(folder, item.name);
    if (item.isDirectory()) return item.name === "node_modules" ? [] : filesBelow(path);
    return item.isFile() ? [path] : [];
  });
}

function report(spec, all) {
  const without = all.filter((id) => !cited.has(`${spec} ${id}`) && !excused.has(`${spec} ${id}`));
  const apart = all.filter((id) => excused.has(`${spec} ${id}`));
  console.log(
    `${spec}: ${all.length} rules, ${all.length - without.length - apart.length} cited by tests, ${apart.length} not applicable, ${without.length} without a test`,
  );
  if (without.length > 0) problems.push(`${spec}: no test cites ${compactRules(without)}`);
}
