import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
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
            const { run, close } = await prepare(name, place, exporter, importer);
            await run();
            await run();
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

  it("are refused by name where there are none", async () => {
    await expect(load(["iommufdd"])).rejects.toThrow("no importer iommufdd; there are iommufd,");
    const path = file("other.mjs", "export const importer = { name: 'no open' };");
    await expect(load([path])).rejects.toThrow(`${path} exports no importer`);
    await expect(load(["./absent.js"])).rejects.toThrow("./absent.js cannot be loaded");
  });
});
