import { existsSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { describe, expect, test } from "vitest";
import { root } from "../../scripts/lib.mjs";
import { publicPackages } from "../../scripts/packages.mjs";

const packages = publicPackages();
const { version } = packages[0].manifest;

describe.each(packages.map(({ folder, manifest }) => [manifest.name, folder, manifest]))(
  "%s",
  (name, folder, manifest) => {
    test("says what npm and its users need", () => {
      expect(manifest).toMatchObject({
        version,
        type: "module",
        license: "Apache-2.0",
        engines: { node: ">=20.19.0" },
        repository: { type: "git", directory: relative(root, folder) },
        publishConfig: { access: "public" },
      });
      expect(manifest.description.length).toBeGreaterThan(30);
      expect(manifest.keywords.length).toBeGreaterThan(2);
      expect(manifest.files).toEqual(
        expect.arrayContaining(["dist", "CHANGELOG.md", "README.md", "LICENSE"]),
      );
      expect(existsSync(join(folder, "LICENSE"))).toBe(true);
    });

    test("exports: types first, sources in the workspace alone, no side effects; a tool exports nothing", () => {
      if (manifest.bin !== undefined) {
        expect(manifest.exports).toBeUndefined();
        return;
      }
      expect(manifest.sideEffects).toBe(false);
      const { exports: here, publishConfig } = manifest;
      const published = publishConfig.exports;
      expect(Object.keys(published)).toEqual(Object.keys(here));
      for (const [entry, target] of Object.entries(here)) {
        if (typeof target === "string") {
          expect(published[entry]).toBe(target);
          continue;
        }
        expect(Object.keys(target), entry).toEqual(["@peerbar/source", "types", "default"]);
        const { "@peerbar/source": source, ...rest } = target;
        expect(existsSync(join(folder, source)), `${name}: ${source}`).toBe(true);
        expect(Object.keys(published[entry]), entry).toEqual(["types", "default"]);
        expect(published[entry]).toEqual(rest);
      }
    });

    test("its licence is the repository's", () => {
      const text = readFileSync(join(root, "LICENSE"), "utf8");
      expect(readFileSync(join(folder, "LICENSE"), "utf8")).toBe(text);
    });
  },
);
