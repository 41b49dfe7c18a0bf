import { readFileSync } from "node:fs";
import {
  backendCases,
  type ExporterSubject,
  exporterCases,
  type ImporterSubject,
  importerCases,
} from "@peerbar/conformance";
import { MemoryEngine, PhysicalMemory, SimpleIommu } from "@peerbar/conformance/reference";
import { registerSuite } from "@peerbar/conformance/vitest";
import { describe, expect, it } from "vitest";
import { MyBackend } from "./docs/my-backend.js";
import { MyBuffer } from "./docs/my-exporter.js";
import { MyImport } from "./docs/my-importer.js";
import { deviceAt } from "./fixtures/subjects.js";

const read = (path: string): string => readFileSync(new URL(path, import.meta.url), "utf8");

it.each(["importer", "exporter", "backend"])(
  "docs/writing-an-%s.md shows the code that runs here",
  (role) => {
    const article = role === "backend" ? "a" : "an";
    expect(read(`../../../docs/writing-${article}-${role}.md`)).toContain(
      read(`./docs/my-${role}.ts`),
    );
  },
);

const exporter: ExporterSubject = {
  role: "exporter",
  name: "the one of the docs",
  capabilities: ["sgt", "mapper", "multi-range", "revoke", "revocable-only"],
  setup: () => {
    const memory = new PhysicalMemory();
    const shared: MyBuffer[] = [];
    let away = false;
    return {
      device: deviceAt(memory, "0000:01:00.0", new SimpleIommu()),
      export: async (...sizes) => {
        const ops = new MyBuffer(sizes.map((size) => memory.allocate(size)));
        shared.push(ops);
        if (away) await ops.revoke();
        return ops.buffer;
      },
      revoke: async () => {
        away = true;
        for (const ops of shared) if (!ops.buffer.released) await ops.revoke();
      },
      restore: async () => {
        away = false;
        for (const ops of shared) if (!ops.buffer.released) await ops.restore();
      },
    };
  },
};

const importer: ImporterSubject = {
  role: "importer",
  name: "the one of the docs",
  capabilities: ["sgt", "revocable", "dynamic", "dma", "multi-range", "kernel-fences"],
  setup: () => {
    const memory = new PhysicalMemory();
    const device = deviceAt(memory, "0000:02:00.0", new SimpleIommu());
    return { memory, import: (buffer, slice) => MyImport.open(device, buffer, slice) };
  },
};

registerSuite({ describe, it }, exporterCases, exporter);
registerSuite({ describe, it }, importerCases, importer);
registerSuite({ describe, it }, backendCases, {
  role: "backend",
  name: "the one of the docs",
  capabilities: ["ports", "direct"],
  setup: () => {
    const iommu = new MyBackend();
    const memory = new PhysicalMemory();
    return {
      iommu,
      connect: (client) => iommu.connect(client),
      memory: (length) => memory.allocate(length),
    };
  },
});

describe("the backend of the docs", () => {
  it("engines reach memory directly where there is no IOMMU", async () => {
    const memory = new PhysicalMemory();
    const { start } = memory.allocate(0x1000n);
    const { dma } = new MyBackend().connect({
      name: "a",
      isPci: true,
      dmaMask: (1n << 64n) - 1n,
      reserved: [],
    });
    const address = dma.mapPhys({ start, length: 0x1000n }, "bidirectional");
    const done = await new MemoryEngine(memory).write(address, Uint8Array.of(5));
    expect(done).toEqual({ status: "ok", transferred: 1, at: undefined });
    const found = new Uint8Array(1);
    expect(memory.read(start, found)).toBe(1);
    expect(found[0]).toBe(5);
  });
});
