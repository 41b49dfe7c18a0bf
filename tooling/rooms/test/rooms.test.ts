import { existsSync, readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { ESLint } from "eslint";
import { describe, expect, test } from "vitest";
import { nodeSources, rooms } from "../index.js";

const root = fileURLToPath(new URL("../../../", import.meta.url));
const packages = readdirSync(`${root}packages`);

interface Manifest {
  readonly dependencies?: Record<string, string>;
}

describe("the table of rooms", () => {
  test("names every package, and nothing else", () => {
    expect(Object.keys(rooms).sort()).toEqual([...packages].sort());
  });

  test.each(packages)("%s depends on no other room than the table lets it import", (name) => {
    const text = readFileSync(`${root}packages/${name}/package.json`, "utf8");
    const { dependencies = {} } = JSON.parse(text) as Manifest;
    const ours = Object.keys(dependencies).filter((dependency) =>
      dependency.startsWith("@peerbar/"),
    );
    const allowed = (rooms[name] ?? []).map((room) => `@peerbar/${room}`);
    expect(allowed).toEqual(expect.arrayContaining(ours));
  });

  test("has no cycle", () => {
    const visit = (room: string, path: readonly string[]): void => {
      expect(path).not.toContain(room);
      for (const next of rooms[room] ?? []) visit(next, [...path, room]);
    };
    for (const room of Object.keys(rooms)) visit(room, []);
  });

  test("its Node sources are there", () => {
    for (const path of nodeSources)
      expect(`${path}: ${String(existsSync(`${root}packages/${path}`))}`).toBe(`${path}: true`);
  });
});

describe("the linter", () => {
  const eslint = new ESLint({
    cwd: root,
    overrideConfig: { languageOptions: { parserOptions: { projectService: false } } },
    ruleFilter: ({ ruleId }) => ruleId === "no-restricted-imports",
  });
  const lint = async (file: string, code: string): Promise<readonly (string | null)[]> => {
    const [result] = await eslint.lintText(code, { filePath: `${root}${file}` });
    return (result?.messages ?? []).map((message) => message.ruleId);
  };

  test.each([
    ["packages/core/src/x.ts", 'import "@peerbar/p2pdma";'],
    ["packages/iommufd/src/x.ts", 'import "@peerbar/vfio-pci";'],
    ["packages/rdma/src/x.ts", 'import "@peerbar/iommu-mock";'],
    ["packages/pcie-sim/src/x.ts", 'import "@peerbar/p2pdma/node";'],
    ["packages/vfio-pci/src/x.ts", 'import "node:fs";'],
  ])("refuses in %s: %s", async (file, code) => {
    expect(await lint(file, code)).toEqual(["no-restricted-imports"]);
  });

  test.each([
    ["packages/vfio-pci/src/x.ts", 'import "@peerbar/p2pdma";'],
    ["packages/p2pdma/src/node/x.ts", 'import "node:fs";'],
    ["apps/cli/src/x.ts", 'import "@peerbar/vfio-pci";'],
  ])("allows in %s: %s", async (file, code) => {
    expect(await lint(file, code)).toEqual([]);
  });
});
