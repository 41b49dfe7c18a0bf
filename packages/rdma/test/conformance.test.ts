import { type ImporterCapability, type ImporterSubject, importerCases } from "@peerbar/conformance";
import { MemoryEngine, PhysicalMemory } from "@peerbar/conformance/reference";
import { registerSuite } from "@peerbar/conformance/vitest";
import type { DmaBuf, Slice } from "@peerbar/core";
import { MockIommu } from "@peerbar/iommu-mock";
import { describe, it } from "vitest";
import { MrAccess, type MrMode, type Pd, RdmaDevice } from "../src/index.js";

const DMA_MASK = (1n << 64n) - 1n;
const NAME = "0000:02:00.0";
const BASE = 0x7f00_0000_0000n;
const access = MrAccess.LOCAL_WRITE | MrAccess.REMOTE_WRITE | MrAccess.REMOTE_READ;

function subject(mode: MrMode, special: readonly ImporterCapability[]): ImporterSubject {
  return {
    role: "importer",
    name: `rdma, ${mode}`,
    capabilities: ["sgt", "dma", "multi-range", "kernel-fences", "keys", "rereg", ...special],
    setup: () => {
      const memory = new PhysicalMemory();
      const iommu = new MockIommu();
      const port = iommu.connect({ name: NAME, isPci: true, dmaMask: DMA_MASK, reserved: [] });
      const engine = new MemoryEngine(memory, port);
      const fn = { name: NAME, pciAddress: NAME, dmaMask: DMA_MASK, dma: port.dma, engine };
      const pd = new RdmaDevice(fn).allocPd();
      return { memory, import: (buffer, slice) => register(pd, mode, buffer, slice) };
    },
  };
}

async function register(pd: Pd, mode: MrMode, buffer: DmaBuf, { offset, length }: Slice) {
  const mr = await pd.regDmaBufMr(buffer, { offset, length, iova: BASE + offset, access, mode });
  const { rkey } = mr;
  return {
    key: rkey,
    close: () => mr.dereg(),
    rereg: async (memory?: DmaBuf) => {
      const all = { offset, length, iova: BASE + offset };
      await mr.rereg(
        memory === undefined ? { access } : { translation: { buffer: memory, ...all } },
      );
    },
    write: async (at: bigint, bytes: Uint8Array) => {
      // A failed write breaks its pair, so each has its own.
      const [from, to] = [pd.createQp(), pd.createQp()];
      from.connect(to);
      const remoteAddr = BASE + offset + at;
      const done = await from.postWrite({ local: bytes, remoteAddr, rkey });
      from.destroy();
      to.destroy();
      return done.status === "success";
    },
  };
}

registerSuite({ describe, it }, importerCases, subject("pinned", ["pins"]));
registerSuite(
  { describe, it },
  importerCases,
  subject("pinned-revocable", ["pins", "revocable", "final"]),
);
registerSuite({ describe, it }, importerCases, subject("dynamic", ["revocable", "dynamic"]));
