import { explore, exporterAndTwoImporters, scenario } from "@peerbar/conformance/explore";
import { DmaBuf, type DmaDevice, type ExporterOps, type ImporterOps } from "@peerbar/core";
import { IoPageTable, PROT_READ, PROT_WRITE, pageTableFormat } from "@peerbar/iommu-mock";
import { parseTopology } from "@peerbar/p2pdma";
import { listing } from "../inputs.js";

/** Memory before and after `count` things came to be. */
interface Difference {
  readonly from: NodeJS.MemoryUsage;
  readonly to: NodeJS.MemoryUsage;
  readonly count: number;
  /** What keeps them, so that it outlives the second look. */
  readonly keep: unknown;
}

/** Takes what is in use after a collection, twice. `hurried`: fewer things where that saves time. */
type MemoryCase = (look: () => NodeJS.MemoryUsage, hurried: boolean) => Promise<Difference>;

/** Things that `make` makes and keeps; what has to be there anyway is made before, in `setup`. */
function made(count: number, setup: () => () => unknown): MemoryCase {
  return (look) => {
    const make = setup();
    const from = look();
    const keep = make();
    return Promise.resolve({ from, to: look(), count, keep });
  };
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

/**
 * One exploration, looked at from within: when a tenth of its orders have been run, and before its last one. What an order leaves behind is
 * all that differs: tables have their size by then, and the engine has compiled what is hot, which takes it 20,000 orders.
 */
const exploredOrders: MemoryCase = async (look, hurried) => {
  const [early, orders] = hurried ? [20_000, 50_000] : [100_000, 1_000_000];
  const seen: NodeJS.MemoryUsage[] = [];
  let begun = 0;
  const watched = scenario(exporterAndTwoImporters.name, (stage) => {
    begun += 1;
    if (begun === early || begun === orders) seen.push(look());
    return exporterAndTwoImporters.build(stage);
  });
  const keep = await explore(watched, { strategy: "random", runs: orders, seed: 1 });
  const [from, to] = seen;
  if (from === undefined || to === undefined || keep.interleavings !== orders)
    throw new Error(`${String(keep.interleavings)} of ${String(orders)} orders were run`);
  return { from, to, count: orders - early, keep };
};

/** By id, as targets.json names them. */
export const memoryCases: Readonly<Record<string, MemoryCase>> = {
  // Page by page and to scattered frames: nothing could be merged.
  "memory/mapping-4k-dense": made(PAGES, () => () => {
    const table = new IoPageTable(pageTableFormat("x86-64"));
    for (let i = 0; i < PAGES; i++) table.map(i, (i * 7919) % PAGES, 1, PROT_READ | PROT_WRITE);
    return table;
  }),
  "memory/attachment-idle": made(ATTACHMENTS, () => {
    const buffer = DmaBuf.export({ ops: exporter, size: 0x1000n });
    return () => Array.from({ length: ATTACHMENTS }, () => buffer.attach(device, importer));
  }),
  "memory/pci-function": made(FUNCTIONS, () => {
    const text = listing(FUNCTIONS);
    return () => {
      const topology = parseTopology(text, { name: "listing" });
      if (topology.functions.length !== FUNCTIONS) throw new Error("the listing was not read");
      return topology;
    };
  }),
  "memory/explored-order": exploredOrders,
};
