import { type DmaDevice, PAGE_SIZE } from "@peerbar/core";
import { describe, expect, it } from "vitest";
import { type BackendName, backendNames } from "../src/backends.js";
import { exportBar } from "../src/exporters.js";
import { type Imported, type ImporterName, importBuffer } from "../src/importers.js";
import { COMMAND, MEMORY_AND_MASTER, makeServer, type Server } from "../src/server.js";
import { isSame, makeStage, pattern, type Stage } from "./stage.js";

const IMPORTERS = 64;
const SIZE = BigInt(IMPORTERS * PAGE_SIZE);

/** Every device that p2pdma lets reach the GPU, watched. */
function clients({ server, sanitizer }: Stage): DmaDevice[] {
  const { machine, p2pdma, gpu } = server;
  return machine.functions
    .filter(
      (fn) =>
        fn !== gpu &&
        fn.info.portType === "endpoint" &&
        p2pdma.mapType(gpu.name, fn.name) === "thru-host-bridge",
    )
    .map((fn) => {
      fn.writeConfig(COMMAND, 2, MEMORY_AND_MASTER);
      return sanitizer.device(fn);
    });
}

const kinds = ["rdma, dynamic", "rdma, pinned-revocable"] as const satisfies ImporterName[];

interface Member {
  readonly name: ImporterName;
  readonly imported: Imported;
}

/** One device in four is passed through whole, to one address space; the others carry regions. */
async function gather(stage: Stage): Promise<Member[]> {
  const devices = clients(stage);
  const whole = stage.server.backend.iommu.name === "simple-iommu" ? [] : devices.splice(0, 4);
  expect(devices.length).toBeGreaterThan(4);
  const { buffer } = stage.exported;
  const join = async (name: ImporterName, device: DmaDevice): Promise<Member> => {
    const imported = await importBuffer(name, buffer, device, stage.server.backend.iommu);
    return { name, imported };
  };
  return Promise.all(
    Array.from({ length: IMPORTERS }, (_, i) => {
      const own = whole[i];
      if (own !== undefined) return join("iommufd", own);
      const device = devices[i % devices.length];
      if (device === undefined) throw new Error("no device is left");
      return join(kinds[i % 2 === 0 ? 0 : 1], device);
    }),
  );
}

const page = (i: number): bigint => BigInt((i % IMPORTERS) * PAGE_SIZE);

describe("64 importers at once", () => {
  it.each(backendNames.filter((name) => name !== "iommu-mock off"))("%s", async (backend) => {
    const setup = { backend, route: "thru-host-bridge" } as const;
    const stage = await makeStage(setup, [{ offset: 0x8_0000n, length: SIZE }]);
    const { exported, server } = stage;
    const members = await gather(stage);
    expect([...exported.buffer.attachments]).toHaveLength(IMPORTERS);
    server.machine.clean();
    const wrote = members.map(({ imported }, i) => imported.write(pattern(PAGE_SIZE, i), page(i)));
    expect(await Promise.all(wrote)).not.toContain(false);
    expect(exported.written()).toEqual({ inside: IMPORTERS, outside: [] });
    for (const [i, { imported }] of members.entries()) {
      const into = new Uint8Array(PAGE_SIZE);
      expect(await imported.read(into, page(i + 1))).toBe(true);
      expect(isSame(into, pattern(PAGE_SIZE, (i + 1) % IMPORTERS))).toBe(true);
    }
    await exported.revoke();
    const dead = members.map(({ imported }, i) => imported.write(pattern(PAGE_SIZE, 99), page(i)));
    expect(await Promise.all(dead)).not.toContain(true);
    expect(exported.written()).toEqual({ inside: 0, outside: [] });
    await exported.restore();
    for (const { name, imported } of members)
      expect(`${name}: ${String(await imported.write(pattern(64, 1)))}`).toBe(
        `${name}: ${String(name === "rdma, dynamic")}`,
      );
    await Promise.all(members.map(({ imported }) => imported.close()));
    await stage.end();
  });
});

const LENGTH = 0x80_0000n;

async function interrupted(
  importer: ImporterName,
  backend: BackendName,
  after: number,
): Promise<number> {
  const setup = { backend, route: "thru-host-bridge", barLength: 2n * LENGTH } as const;
  const stage = await makeStage(setup, [{ offset: LENGTH, length: LENGTH }]);
  const { exported, server, sanitizer } = stage;
  const device = sanitizer.device(server.nic);
  const imported = await importBuffer(importer, exported.buffer, device, server.backend.iommu);
  server.machine.clean();
  const state: { over: boolean } = { over: false };
  const transfer = imported.write(pattern(Number(LENGTH), 5)).finally(() => {
    state.over = true;
  });
  while (!state.over && exported.written().inside < after) await Promise.resolve();
  const { inside } = exported.written();
  await exported.revoke();
  const at = server.bar.checksum();
  expect(await transfer).toBe(false);
  expect(exported.written()).toEqual({ inside: 0, outside: [] });
  expect(server.bar.checksum()).toBe(at);
  await imported.close();
  await stage.end();
  return inside;
}

describe("a revoke in the middle of a transfer: no byte after it", () => {
  it.each([
    ["rdma, dynamic", "iommu-mock dma"],
    ["rdma, dynamic", "iommu-mock passthrough"],
    ["rdma, pinned-revocable", "iommu-mock dma"],
    ["rdma, pinned-revocable", "iommu-mock dma-fq"],
    ["rdma, pinned-revocable", "iommu-mock off"],
    ["iommufd", "iommu-mock dma"],
    ["iommufd", "iommu-mock passthrough"],
  ] as const)("%s / %s", async (importer, backend) => {
    for (const after of [1, 100, 1000]) {
      const inside = await interrupted(importer, backend, after);
      expect(inside).toBeGreaterThanOrEqual(after);
      expect(inside).toBeLessThan(Number(LENGTH) / PAGE_SIZE);
    }
  });
});

describe("two exporters of one server", () => {
  it("a revoke of one leaves the other's importers alone", async () => {
    const server: Server = makeServer({ backend: "iommu-mock dma", route: "thru-host-bridge" });
    const other = server.machine.functions.find(
      (fn) => fn !== server.gpu && fn.info.classCode === server.gpu.info.classCode,
    );
    const bar = other?.memoryBars.find(({ index }) => index === server.bar.index);
    if (other === undefined || bar === undefined) throw new Error("the server has one GPU only");
    const silent = { emit: () => undefined };
    const ranges = [{ offset: 0n, length: 0x1_0000n }];
    const first = await exportBar(server, ranges, "mapping", silent);
    const second = await exportBar({ ...server, gpu: other, bar }, ranges, "mapping", silent);
    const { iommu } = server.backend;
    const a = await importBuffer("rdma, dynamic", first.buffer, server.nic, iommu);
    const b = await importBuffer("rdma, dynamic", second.buffer, server.nic, iommu);
    await first.revoke();
    expect(await a.write(pattern(4096, 1))).toBe(false);
    expect(await b.write(pattern(4096, 1))).toBe(true);
    expect(first.written()).toMatchObject({ inside: 0, outside: [expect.any(String)] });
    expect(second.written()).toEqual({ inside: 1, outside: [] });
    await Promise.all([a.close(), b.close()]);
    expect(await first.close()).toBe(0);
    expect(await second.close()).toBe(0);
  });
});
