import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { root } from "../../scripts/lib.mjs";
import { bundledSize, imports, rowsOf } from "../src/sizes.mjs";

const here = fileURLToPath(new URL("..", import.meta.url));
const rows = rowsOf(readFileSync(join(root, "docs/sizes.md"), "utf8"));

test("docs/sizes.md has a row for each import", () => {
  expect(rows.map(({ what }) => what)).toEqual(imports.map(({ what }) => what));
});

test.each(imports.map(({ what, code }) => [what, code]))(
  "%s is as small as docs/sizes.md says",
  async (what, code) => {
    const told = rows.find((row) => row.what === what)?.bytes ?? 0;
    const bytes = await bundledSize(code, here);
    expect(bytes).toBeLessThan(told * 1.1 + 512);
    // Much smaller is good news that the page should tell.
    expect(bytes).toBeGreaterThan(told * 0.8 - 512);
  },
);

test("a bundle of one function of core holds no other part of it", async () => {
  const error = await bundledSize('export { isDmaBufError } from "@peerbar/core";', here);
  const all = await bundledSize('export * from "@peerbar/core";', here);
  expect(error).toBeLessThan(all / 5);
});
