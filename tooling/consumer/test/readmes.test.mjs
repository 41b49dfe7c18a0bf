import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { format } from "node:util";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { publicPackages } from "../../scripts/packages.mjs";
import { installLine, programs } from "../src/readme.mjs";

// Below this folder, so that the programs find the packages, read from sources.
const place = new URL("../.programs/", import.meta.url);

beforeAll(() => {
  mkdirSync(place, { recursive: true });
});
afterAll(() => {
  rmSync(place, { recursive: true, force: true });
});

// A package without a README cannot be released (tooling/scripts/release.mjs); here it only has nothing to run.
const libraries = publicPackages().filter(
  ({ folder, manifest }) => manifest.bin === undefined && existsSync(`${folder}/README.md`),
);

describe.each(libraries.map(({ folder, manifest }) => [manifest.name, folder]))(
  "%s",
  (name, folder) => {
    const readme = readFileSync(`${folder}/README.md`, "utf8");
    const found = programs(readme);

    test("the README says how to install it, shows a program, and lists its errors", () => {
      expect(installLine(readme)).toContain(name);
      expect(found.length).toBeGreaterThan(0);
      expect(readme).toMatch(/^## Errors$/m);
    });

    test.each(found.map((program) => [program.line, program]))(
      "the program at line %i runs, and prints what it says",
      async (line, { code, prints }) => {
        const file = new URL(`${name.replace("/", "-")}-${line}.ts`, place);
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
      },
    );
  },
);
