import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { format } from "node:util";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { publicPackages } from "../../scripts/packages.mjs";
import { docstrings, installLine, programs } from "../src/readme.mjs";

// Below this folder, so that the programs find the packages, read from sources.
const place = new URL("../.programs/", import.meta.url);

beforeAll(() => {
  mkdirSync(place, { recursive: true });
});
afterAll(() => {
  rmSync(place, { recursive: true, force: true });
});

/** Their example takes a device from its driver: it runs in the lab (tooling/kernel-lab), not here. */
const needsHardware = ["@peerbar/iommu-native"];

// A package without a README cannot be released (tooling/scripts/release.mjs); here it only has nothing to run.
const libraries = publicPackages().filter(
  ({ folder, manifest }) => manifest.bin === undefined && existsSync(`${folder}/README.md`),
);

describe.each(libraries.map(({ folder, manifest }) => [manifest.name, folder]))(
  "%s",
  (name, folder) => {
    const readme = readFileSync(`${folder}/README.md`, "utf8");
    const found = programs(readme);

    // With a strict package manager a program finds only what its own project asks for.
    test.runIf(found.length > 0)(
      "the install line names every package of the program below it",
      () => {
        const imported = found[0].code.matchAll(/from "(@peerbar\/[^/"]+)/g);
        const asked = installLine(readme).split(" ");
        for (const [, one] of imported) expect(asked).toContain(one);
      },
    );

    test("the README says how to install it, shows a program, lists its errors and leads to its API", () => {
      expect(installLine(readme)).toContain(name);
      if (needsHardware.includes(name)) expect(readme).toContain("```ts");
      else expect(found.length).toBeGreaterThan(0);
      expect(readme).toMatch(/^## Errors$/m);
      expect(readme).toContain("[src/index.ts](src/index.ts)");
    });

    const inDocstrings = sourcesOf(folder).flatMap((file) =>
      programs(docstrings(readFileSync(file, "utf8"))).map((program) => [
        `${relative(folder, file)}:${program.line}`,
        program,
      ]),
    );

    test.runIf(inDocstrings.length > 0).each(inDocstrings)(
      "the example at %s runs",
      async (where, program) => {
        await runs(`${name}-${where}`, program);
      },
    );

    test.each(found.map((program) => [program.line, program]))(
      "the program at line %i runs, and prints what it says",
      async (line, program) => {
        await runs(`${name}-README:${line}`, program);
      },
    );
  },
);

/** A guide's blocks are one program: the code, then its proof. */
describe.each(["writing-an-importer", "writing-an-exporter", "writing-a-backend"])("%s", (name) => {
  test("the guide's code passes the suite as the guide says", async () => {
    const guide = readFileSync(new URL(`../../../docs/${name}.md`, import.meta.url), "utf8");
    const parts = programs(guide);
    expect(parts.length).toBe(2);
    const code = parts.map((part) => part.code).join("\n");
    await runs(name, { code, prints: parts.flatMap((part) => part.prints) });
  });
});

/** Runs a program from below this folder, and compares what it prints with what it says. */
async function runs(name, { code, prints }) {
  const file = new URL(`${name.replace(/[^\w@-]+/g, "-")}.ts`, place);
  writeFileSync(file, code);
  const lines = [];
  const log = vi.spyOn(console, "log").mockImplementation((...values) => {
    lines.push(format(...values));
  });
  try {
    await import(/* @vite-ignore */ file.href);
  } finally {
    log.mockRestore();
  }
  // A program that says nothing of what it prints has only to run.
  if (prints.length > 0) expect(lines).toEqual(prints);
}

function sourcesOf(folder) {
  return readdirSync(join(folder, "src"), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(".ts"))
    .map((entry) => join(entry.parentPath, entry.name));
}
