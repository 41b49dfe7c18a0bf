import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { root } from "../../scripts/lib.mjs";

const page = readFileSync(join(root, "docs/dependencies.md"), "utf8");
/** First cells of the table rows: `a`, `b` (what is in brackets is said, not named). */
const named = [...page.matchAll(/^\| (`.*?) \|/gm)].flatMap(([, cell]) =>
  [...cell.replace(/\(.*?\)/g, "").matchAll(/`([^`]+)`/g)].map(([, name]) => name),
);

const folders = [
  "",
  ...["packages", "apps", "tooling", "examples"].flatMap((group) =>
    readdirSync(join(root, group)).map((name) => join(group, name)),
  ),
].filter((folder) => existsSync(join(root, folder, "package.json")));

const manifests = folders.map((folder) => ({
  folder,
  ...JSON.parse(readFileSync(join(root, folder, "package.json"), "utf8")),
}));

const used = new Set(
  manifests
    .flatMap(({ dependencies, devDependencies, optionalDependencies, peerDependencies }) =>
      Object.keys({
        ...dependencies,
        ...devDependencies,
        ...optionalDependencies,
        ...peerDependencies,
      }),
    )
    .filter((name) => !/^(@peerbar\/|@types\/|peerbar$)/.test(name)),
);

test("docs/dependencies.md names every dependency, with its reason", () => {
  expect([...used].filter((name) => !named.includes(name))).toEqual([]);
  for (const [row] of page.matchAll(/^\| `.*$/gm)) {
    expect(row.split("|").at(-2)?.trim().length, row).toBeGreaterThan(10);
  }
});

test("and none that is gone", () => {
  const { packageManager } = manifests[0];
  const known = new Set([...used, packageManager.split("@")[0]]);
  expect(named.filter((name) => !known.has(name))).toEqual([]);
});

test("what users install is pinned or bounded, and core depends on nothing", () => {
  for (const { folder, name, dependencies = {}, private: hidden } of manifests) {
    if (hidden === true) continue;
    if (name === "@peerbar/core") expect(dependencies).toEqual({});
    for (const [other, range] of Object.entries(dependencies)) {
      expect(range, `${folder}: ${other}`).toMatch(/^(workspace:\^|[~^]?\d+\.\d+\.\d+)$/);
    }
  }
});
