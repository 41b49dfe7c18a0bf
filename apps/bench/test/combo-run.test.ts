import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import type { Effort } from "../src/case.js";
import { type ComboOptions, combo } from "../src/combo/combo.js";
import { quick } from "../src/measure.js";

/** The times themselves do not matter here. */
const short: Effort = { ...quick, rounds: 5, timeMs: 2, warmupMs: 20 };

const folder = mkdtempSync(join(tmpdir(), "peerbar-bench-test-"));
afterAll(() => {
  rmSync(folder, { recursive: true });
});

interface ComboFile {
  readonly rows: { id: string; ratios: number[] }[];
  readonly skipped: { id: string; reason: string; failed?: boolean }[];
}

async function run(options: ComboOptions): Promise<{ code: number; out: string; err: string }> {
  let [out, err] = ["", ""];
  const code = await combo(
    { exporter: ["system-memory"], backend: ["iommu-mock"], ...options },
    short,
    {
      out: (text) => {
        out += text;
      },
      err: (text) => {
        err += text;
      },
    },
  );
  return { code, out, err };
}

function file(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

/** An importer of somebody's, its `import` as given. */
const importer = (name: string, imported: string): string =>
  file(
    `${name}.mjs`,
    `export const importer = { name: ${JSON.stringify(name)}, open: () => ({ import: async () => (${imported}), close() {} }) };`,
  );

const read = (path: string): ComboFile => JSON.parse(readFileSync(path, "utf8")) as ComboFile;

test("an importer that says it wrote and did not is told, not timed", async () => {
  const path = importer("idle", "{ write: async () => true, close() {} }");
  const json = join(folder, "idle.json");
  const { code, out, err } = await run({ importer: [path], json });
  expect(code).toBe(1);
  expect(out).toMatch(/idle +iommu-mock +FAILED/);
  expect(out).not.toMatch(/\d us/);
  expect(err).toContain("is not in the buffer");
  expect(read(json).rows).toEqual([]);
  expect(read(json).skipped).toHaveLength(4);
});

test("one that writes the first time only is told as well", async () => {
  const text = `let writes = 0;
export const importer = { name: "lazy", open: ({ machine, nic }) => ({
  import: async (buffer) => {
    const attachment = buffer.attach(nic, { allowPeer2Peer: true, invalidateMappings() {} });
    attachment.negotiate(["sgt"]);
    const held = await buffer.reservation.lock();
    const table = attachment.map("bidirectional", held);
    held.release();
    return {
      write: async (at, bytes) => writes++ > 0 || (await nic.engine.writeList(table, bytes)).status === "ok",
      close: async () => {
        const again = await buffer.reservation.lock();
        attachment.unmap(table, "bidirectional", again);
        again.release();
        attachment.detach();
      },
    };
  }, close() { writes = 0; } }) };`;
  const { code, out } = await run({ importer: [file("lazy.mjs", text)] });
  expect(code).toBe(1);
  expect(out.match(/FAILED/g)).toHaveLength(4);
});

test("what is broken in one module takes no other row with it", async () => {
  const json = join(folder, "broken.json");
  const path = importer("broken", "undefined.write");
  const { code, out, err } = await run({ importer: [path, "iommufd"], json });
  expect(code).toBe(1);
  expect(err).toMatch(/FAILED system-memory x broken x iommu-mock, import: Cannot read properties/);
  expect(out).toMatch(/iommufd +iommu-mock +\d+\.\d us/);
  const { rows, skipped } = read(json);
  expect(rows.map(({ id }) => id)).toContain("system-memory x iommufd x iommu-mock, write 1 MiB");
  expect(skipped.map(({ failed }) => failed)).toEqual([true, true, true, true]);
});

test("a refusal is an answer, and the run does not fail for it", async () => {
  const path = file(
    "picky.mjs",
    `const refusal = Object.assign(new Error("no"), { [Symbol.for("peerbar.DmaBufError")]: true, code: "EOPNOTSUPP", reason: "not this memory" });
export const importer = { name: "picky", open: () => ({ import: async () => { throw refusal; }, close() {} }) };`,
  );
  const { code, out } = await run({ importer: [path] });
  expect([code, out.includes("EOPNOTSUPP: not this memory")]).toEqual([0, true]);
});

test("an exporter that shows no memory is read back by the NIC", async () => {
  const path = file(
    "mine.mjs",
    `export const exporter = { name: "mine", async open(place, bytes) {
  const { exporters } = globalThis.benchParts;
  const { peek, ...rest } = await exporters[0].open(place, bytes);
  return rest;
} };`,
  );
  const { exporters } = await import("../src/combo/parts.js");
  Object.assign(globalThis, { benchParts: { exporters } });
  const { code, out } = await run({ exporter: [path], importer: ["rdma-dynamic"] });
  expect([code, out.match(/ us /g)?.length]).toEqual([0, 4]);
});

test("a baseline is compared with, row by row", async () => {
  const before = join(folder, "before.json");
  expect((await run({ importer: ["iommufd"], json: before })).code).toBe(0);
  const document = read(before);
  const tampered = file(
    "tampered.json",
    JSON.stringify({
      ...document,
      rows: document.rows.map((row) => ({ ...row, ratios: row.ratios.map((r) => r / 1e6) })),
    }),
  );
  const { code, out } = await run({ importer: ["iommufd"], baseline: tampered });
  expect(code).toBe(1);
  expect(out.match(/ worse$/gm)).toHaveLength(4);
  await expect(run({ importer: ["rdma-dynamic"], baseline: before })).rejects.toThrow(
    "has nothing of what is to be measured",
  );
});

test("where the result cannot be kept, nothing is run", async () => {
  mkdirSync(join(folder, "directory"));
  for (const path of [join(folder, "absent", "x.json"), join(folder, "directory")])
    await expect(run({ importer: ["iommufd"], json: path })).rejects.toThrow(folder);
});
