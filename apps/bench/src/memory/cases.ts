import { DmaBuf, type DmaDevice, type ExporterOps, type ImporterOps } from "@peerbar/core";
import { IoPageTable, PROT_READ, PROT_WRITE, pageTableFormat } from "@peerbar/iommu-mock";
import { parseTopology } from "@peerbar/p2pdma";
import { listing } from "../inputs.js";

/** Makes `count` things and returns what keeps them; what has to be there anyway is made before, in `setup`. */
export interface MemoryCase {
  readonly count: number;
  setup(): () => unknown;
}

const PAGES = 1 << 20;
const ATTACHMENTS = 100_000;
const FUNCTIONS = 20_000;

const exporter: ExporterOps = {
  name: "bench",
  offers: () => ["sgt"],
  map: () => {
    throw new Error("nothing is mapped here");
  },
  unmap: () => undefined,
  release: () => undefined,
};
const device: DmaDevice = { name: "peer", pciAddress: "0000:01:00.0", dmaMask: (1n << 64n) - 1n };
const importer: ImporterOps = { allowPeer2Peer: true, invalidateMappings: () => undefined };

/** By id, as targets.json names them. */
export const memoryCases: Readonly<Record<string, MemoryCase>> = {
  // Page by page and to scattered frames: nothing could be merged.
  "memory/mapping-4k-dense": {
    count: PAGES,
    setup: () => () => {
      const table = new IoPageTable(pageTableFormat("x86-64"));
      for (let i = 0; i < PAGES; i++) table.map(i, (i * 7919) % PAGES, 1, PROT_READ | PROT_WRITE);
      return table;
    },
  },
  "memory/attachment-idle": {
    count: ATTACHMENTS,
    setup: () => {
      const buffer = DmaBuf.export({ ops: exporter, size: 0x1000n });
      return () => Array.from({ length: ATTACHMENTS }, () => buffer.attach(device, importer));
    },
  },
  "memory/pci-function": {
    count: FUNCTIONS,
    setup: () => {
      const text = listing(FUNCTIONS);
      return () => {
        const topology = parseTopology(text, { name: "listing" });
        if (topology.functions.length !== FUNCTIONS) throw new Error("the listing was not read");
        return topology;
      };
    },
  },
};
