import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { root } from "../scripts/lib.mjs";
import { comments, misspelt, prose } from "./terms.mjs";

/** Tables that a program writes: the words are names of things. */
const written = ["docs/combinations.md"];

const files = execFileSync("git", ["ls-files", "*.md", "packages/*/src/*.ts", "apps/*/src/*.ts"], {
  cwd: root,
  encoding: "utf8",
})
  .trim()
  .split("\n")
  .filter((file) => !written.includes(file));

test("a misspelt term is found, in prose alone", () => {
  expect(misspelt(prose("A dmabuf at an iova.\n`dmabuf`\n```\niova\n```"))).toEqual([
    '1: "dmabuf": write dma-buf',
    '1: "iova": write IOVA',
  ]);
  expect(misspelt(comments("/** An Iova. */\nconst iova = 1;\n// see iova"), "comments")).toEqual([
    '1: "Iova": write IOVA',
  ]);
});

test("terms of the field are spelt as the field spells them", () => {
  expect(files.length).toBeGreaterThan(100);
  const found = files.flatMap((file) => {
    const text = readFileSync(join(root, file), "utf8");
    const found = file.endsWith(".md")
      ? misspelt(prose(text))
      : misspelt(comments(text), "comments");
    return found.map((what) => `${file}:${what}`);
  });
  expect(found).toEqual([]);
});
