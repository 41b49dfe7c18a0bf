import { type DmaDevice, isDmaBufError } from "@peerbar/core";
import { describe, expect, it } from "vitest";
import type { BackendName } from "../src/backends.js";
import { type Imported, type ImporterName, importBuffer } from "../src/importers.js";
import { COMMAND, MEMORY_AND_MASTER } from "../src/server.js";
import { isSame, makeStage, pattern, type Stage } from "./stage.js";

const RESETS = 1000;
const ROUNDS = 20_000;
const RANGES = [
  { offset: 0x10_0000n, length: 0x1_0000n },
  { offset: 0x2_0000n, length: 0x1_0000n },
];
/** iommufd takes buffers of one range. */
const ONE = [{ offset: 0x10_0000n, length: 0x2_0000n }];

/** Numbers from 0 to below `n`, the same for one seed. */
function dice(seed: number): (n: number) => number {
  let state = seed >>> 0;
  return (n) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
}

async function idle(turns: number): Promise<void> {
  for (let i = 0; i < turns; i++) await Promise.resolve();
}

interface Seen {
  imported: number;
  refused: number;
  moved: number;
  stopped: number;
}

/** The memory is away for the moment, or went away between attaching and pinning (rdma-umem R6). */
function isAway(error: unknown): boolean {
  if (!isDmaBufError(error)) return false;
  return error.code === "ENODEV" || (error.code === "EINVAL" && error.rule === "rdma-umem R6");
}

/** Imports, writes, and lets go, over and over, whatever happens to the memory. */
async function restless(
  open: () => Promise<Imported>,
  roll: (n: number) => number,
  running: () => boolean,
): Promise<Seen> {
  const seen: Seen = { imported: 0, refused: 0, moved: 0, stopped: 0 };
  // Bounded: it never leaves the microtasks, so that without end no time-out could end a broken run.
  for (let round = 0; running() && round < ROUNDS; round++) {
    try {
      const imported = await open();
      seen.imported += 1;
      for (let i = roll(4); i >= 0; i--) {
        if (await imported.write(pattern(64, i), BigInt(roll(32) * 0x1000))) seen.moved += 1;
        else seen.stopped += 1;
        await idle(roll(8));
      }
      await imported.close();
    } catch (error) {
      if (!isAway(error)) throw error;
      seen.refused += 1;
      await idle(1 + roll(8));
    }
  }
  return seen;
}

/** Another device that reaches the GPU, for an address space of its own. */
function second({ server, sanitizer }: Stage): DmaDevice {
  const { machine, p2pdma, gpu, nic } = server;
  const fn = machine.functions.find(
    (one) =>
      one !== nic &&
      one !== gpu &&
      one.info.portType === "endpoint" &&
      p2pdma.mapType(gpu.name, one.name) === "thru-host-bridge",
  );
  if (fn === undefined) throw new Error("one device alone reaches the GPU");
  fn.writeConfig(COMMAND, 2, MEMORY_AND_MASTER);
  return sanitizer.device(fn);
}

async function resets({ server, exported }: Stage, roll: (n: number) => number): Promise<number> {
  let count = 0;
  let mapped = 0;
  server.gpu.onReset = () => {
    count += 1;
    // vfio-pci-dmabuf R16: when the device is reset nobody has a mapping.
    for (const { mappings } of exported.buffer.attachments) mapped += mappings;
  };
  for (let i = 0; i < RESETS; i++) {
    await exported.reset?.();
    await idle(roll(40));
  }
  server.gpu.onReset = undefined;
  expect(mapped).toBe(0);
  return count;
}

/** After all that it works as on the first day. */
async function expectWorks({ server, exported }: Stage, imported: Imported): Promise<void> {
  const bytes = pattern(0x2_0000, 3);
  server.machine.clean();
  expect(await imported.write(bytes)).toBe(true);
  expect(isSame(exported.peek(), bytes)).toBe(true);
  expect(exported.written()).toEqual({ inside: 0x20, outside: [] });
}

const storms: readonly (readonly [
  BackendName,
  "mapping" | "attachment",
  readonly ImporterName[],
])[] = [
  ["iommu-mock dma", "mapping", ["rdma, dynamic", "rdma, pinned-revocable"]],
  ["iommu-mock dma-fq", "attachment", ["rdma, pinned-revocable", "rdma, dynamic"]],
  ["iommu-mock dma", "mapping", ["iommufd", "rdma, dynamic", "rdma, pinned-revocable"]],
  ["iommu-mock passthrough", "mapping", ["iommufd", "rdma, dynamic"]],
];

describe(`${String(RESETS)} resets against map, unmap and DMA`, () => {
  it.each(storms)("%s, %s: %j", async (backend, strategy, importers) => {
    const seed = Number(process.env.PEERBAR_SEED ?? Date.now() % 0x1_0000_0000);
    console.log(`storm: PEERBAR_SEED=${String(seed)}`);
    const setup = { backend, route: "thru-host-bridge" } as const;
    const stage = await makeStage(setup, importers.includes("iommufd") ? ONE : RANGES, strategy);
    const { server, exported, sanitizer } = stage;
    const nic = sanitizer.device(server.nic);
    const other = second(stage);
    const open = (name: ImporterName): Promise<Imported> =>
      importBuffer(name, exported.buffer, name === "iommufd" ? other : nic, server.backend.iommu);
    const steady = await open("rdma, dynamic");
    let running = true;
    const work = importers.map((name, i) =>
      restless(
        () => open(name),
        dice(seed + 1 + i),
        () => running,
      ),
    );
    const count = await resets(stage, dice(seed)).finally(() => {
      running = false;
    });
    expect(count).toBe(RESETS);
    const seen = await Promise.all(work);
    for (const { imported, moved } of seen) {
      expect(imported).toBeGreaterThan(100);
      expect(moved).toBeGreaterThan(100);
    }
    const met = seen.reduce((sum, { refused, stopped }) => sum + refused + stopped, 0);
    console.log(`storm: the resets met ${String(met)} imports and transfers`);
    expect(met).toBeGreaterThan(100);
    await expectWorks(stage, steady);
    await steady.close();
    await stage.end();
  });
});
