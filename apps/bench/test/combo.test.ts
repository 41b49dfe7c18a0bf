import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { loadParts } from "../src/combo/load.js";
import { backends, exporters, type ImporterPart, importers } from "../src/combo/parts.js";
import { prepare, scenarioNames } from "../src/combo/scenarios.js";
import { benchPlace } from "../src/machine.js";

const folder = mkdtempSync(join(tmpdir(), "peerbar-bench-test-"));
afterAll(() => {
  rmSync(folder, { recursive: true });
});

const load = (wanted?: readonly string[]): Promise<readonly ImporterPart[]> =>
  loadParts("importer", "open", wanted, importers);

function file(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

describe("combinations", () => {
  for (const backend of backends)
    for (const exporter of exporters)
      for (const importer of importers)
        it(`${exporter.name} x ${importer.name} x ${backend.name} run every scenario twice`, async () => {
          for (const name of scenarioNames) {
            const place = benchPlace(backend.make());
            const { run, check, close } = await prepare(name, place, exporter, importer);
            await run();
            await run();
            await check();
            await close();
          }
        });
});

describe("parts", () => {
  it("are all that are built in, or those named", async () => {
    expect(await load()).toBe(importers);
    expect(await load(["rdma-dynamic", "iommufd"])).toEqual([importers[2], importers[0]]);
  });

  it("come from a module of the user's", async () => {
    const path = file("mine.mjs", "export const importer = { name: 'mine', open() {} };");
    expect((await load([path, "iommufd"])).map(({ name }) => name)).toEqual(["mine", "iommufd"]);
  });

  it("come from a package that the folder can import, its exports for import alone included", async () => {
    const room = join(folder, "node_modules", "@mine", "parts");
    mkdirSync(room, { recursive: true });
    writeFileSync(
      join(room, "package.json"),
      JSON.stringify({ name: "@mine/parts", exports: { "./nic": { import: "./nic.mjs" } } }),
    );
    writeFileSync(
      join(room, "nic.mjs"),
      "export const importer = { name: 'packaged', open() {} };",
    );
    const [part] = await loadParts("importer", "open", ["@mine/parts/nic"], importers, folder);
    expect(part?.name).toBe("packaged");
    await expect(loadParts("importer", "open", ["@mine/other"], importers, folder)).rejects.toThrow(
      /no importer @mine\/other; there are .* packages that .* can import/,
    );
    await expect(
      loadParts("importer", "open", ["@mine/parts/gpu"], importers, folder),
    ).rejects.toThrow("@mine/parts/gpu cannot be loaded");
  });

  it("come from a file without ./ before its name, too", async () => {
    file("plain.mjs", "export const importer = { name: 'plain', open() {} };");
    const [part] = await loadParts("importer", "open", ["plain.mjs"], importers, folder);
    expect(part?.name).toBe("plain");
  });

  it("are refused by name where there are none", async () => {
    await expect(load(["iommufdd"])).rejects.toThrow("no importer iommufdd; there are iommufd,");
    const path = file("other.mjs", "export const importer = { name: 'no open' };");
    await expect(load([path])).rejects.toThrow(`${path} exports no importer`);
    await expect(load(["./absent.js"])).rejects.toThrow("./absent.js cannot be loaded");
  });
});
