/**
 * Which rules of the specification no test cites. Exits with 1 where a spec that is marked complete in rule-ids.json has such a rule,
 * where a test cites a rule that does not exist in it, or where the list of ids differs from the specification beside this repository.
 *
 * `--write` takes the ids over from ../shared/spec; `--spec NAME` shows one spec alone.
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { citedRules, compactRules, definedRules, excusedRules, expandRules } from "./citations.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const root = resolve(here, "../..");
const specFolder = resolve(root, "../shared/spec");
const listFile = join(here, "rule-ids.json");

/** @type {Record<string, { complete: boolean, rules: string }>} */
const list = JSON.parse(readFileSync(listFile, "utf8"));
const specs = Object.keys(list);
const args = process.argv.slice(2);
const only = args.includes("--spec") ? args[args.indexOf("--spec") + 1] : undefined;
const problems = [];

compareWithSpec();
const { cited, excused } = scan();
for (const spec of specs) if (only === undefined || only === spec) report(spec);
for (const problem of problems) console.error(`rules: ${problem}`);
process.exitCode = problems.length > 0 ? 1 : 0;

function compareWithSpec() {
  if (!existsSync(specFolder)) {
    console.log(
      `rules: no ${relative(root, specFolder)} here: the checked-in ids are taken as they are`,
    );
    return;
  }
  for (const spec of specs) {
    const path = join(specFolder, `${spec}.md`);
    if (!existsSync(path)) continue;
    const found = compactRules(definedRules(readFileSync(path, "utf8")));
    if (found === list[spec].rules) continue;
    if (args.includes("--write")) list[spec].rules = found;
    else
      problems.push(`${spec}: the specification has ${found}, rule-ids.json ${list[spec].rules}`);
  }
  if (args.includes("--write")) writeFileSync(listFile, `${JSON.stringify(list, null, 2)}\n`);
}

/** Every citation with the files it is in, and the rules that are excused. */
function scan() {
  const cited = new Map();
  const excused = new Set();
  for (const path of sources()) {
    const text = readFileSync(path, "utf8");
    if (path.endsWith(".md")) {
      for (const { spec, id } of excusedRules(text, specs)) excused.add(`${spec} ${id}`);
      continue;
    }
    for (const { spec, id } of citedRules(text, specs)) {
      const key = `${spec} ${id}`;
      cited.set(key, (cited.get(key) ?? new Set()).add(relative(root, path)));
    }
  }
  return { cited, excused };
}

/** Tests of every room and the conformance suites. */
function sources() {
  const folders = ["packages", "apps"].flatMap((group) =>
    existsSync(join(root, group))
      ? readdirSync(join(root, group)).map((room) => join(root, group, room))
      : [],
  );
  return [...folders.map((room) => join(room, "test")), join(root, "packages/conformance/src")]
    .filter((folder) => existsSync(folder))
    .flatMap((folder) => filesBelow(folder))
    .filter((path) => /\.[cm]?ts$/.test(path) || path.endsWith("not-applicable.md"));
}

/** Files in a folder and below; installed packages are links that lead back here. */
function filesBelow(folder) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((item) => {
    const path = join(folder, item.name);
    if (item.isDirectory()) return item.name === "node_modules" ? [] : filesBelow(path);
    return item.isFile() ? [path] : [];
  });
}

function report(spec) {
  const { complete, rules } = list[spec];
  const all = expandRules(rules);
  const without = all.filter((id) => !cited.has(`${spec} ${id}`) && !excused.has(`${spec} ${id}`));
  const apart = all.filter((id) => excused.has(`${spec} ${id}`));
  const known = new Set(all);
  const unknown = [...cited].filter(
    ([key]) => key.startsWith(`${spec} `) && !known.has(key.slice(spec.length + 1)),
  );
  const state = complete ? "complete" : "in progress";
  console.log(
    `${spec} (${state}): ${all.length} rules, ${all.length - without.length - apart.length} cited by tests, ${apart.length} not applicable, ${without.length} without a test`,
  );
  if (without.length > 0) console.log(`  without a test: ${compactRules(without)}`);
  for (const [key, files] of unknown) {
    const message = `${key} does not exist, cited in ${[...files].join(", ")}`;
    if (complete) problems.push(message);
    else console.log(`  ${message}`);
  }
  if (complete && without.length > 0)
    problems.push(`${spec} is marked complete and lacks ${compactRules(without)}`);
}
