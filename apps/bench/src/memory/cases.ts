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

/** Takes what is in use after a collection, twice or more often. `count` asks for another number of things than usual. */
type MemoryCase = (look: () => NodeJS.MemoryUsage, count?: number) => Promise<Difference>;

/** Made and dropped before the first look, so that what the engine compiles, and gives back, for a first one is not counted with them. */
const WARM_UP = 100;

/** Things that `make` makes and keeps; what has to be there anyway is made before, in `setup`. */
function made(usual: number, setup: (count: number) => () => unknown): MemoryCase {
  return (look, count = usual) => {
    setup(WARM_UP)();
    const make = setup(count);
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

const INTERVALS = 5;

/**
 * One exploration, looked at from within: between a tenth of its orders and its last one, in {@link INTERVALS} parts, of which the middle one
 * by growth counts. What an order leaves behind is in each of them; what the engine compiles late, or a table that grows once, is in one.
 */
const exploredOrders: MemoryCase = async (look) => {
  const [early, orders] = [100_000, 1_000_000];
  const count = (orders - early) / INTERVALS;
  const seen: NodeJS.MemoryUsage[] = [];
  let begun = 0;
  const watched = scenario(exporterAndTwoImporters.name, (stage) => {
    begun += 1;
    if (begun === early + seen.length * count) seen.push(look());
    return exporterAndTwoImporters.build(stage);
  });
  const keep = await explore(watched, { strategy: "random", runs: orders, seed: 1 });
  const parts = seen.slice(1).map((to, i) => ({ from: seen[i] ?? to, to, count, keep }));
  const grown = ({ from, to }: Difference): number =>
    to.heapUsed + to.external - from.heapUsed - from.external;
  const middle = parts.sort((one, other) => grown(one) - grown(other))[INTERVALS >> 1];
  if (middle === undefined || parts.length !== INTERVALS || keep.interleavings !== orders)
    throw new Error(`${String(keep.interleavings)} of ${String(orders)} orders were run`);
  return middle;
};

/** Takes a minute and more. */
export const EXPLORED_ORDER = "memory/explored-order";

/** By id, as targets.json names them. */
export const memoryCases: Readonly<Record<string, MemoryCase>> = {
  // Page by page and to scattered frames: nothing could be merged.
  "memory/mapping-4k-dense": made(PAGES, (count) => () => {
    const table = new IoPageTable(pageTableFormat("x86-64"));
    for (let i = 0; i < count; i++) table.map(i, (i * 7919) % PAGES, 1, PROT_READ | PROT_WRITE);
    return table;
  }),
  "memory/attachment-idle": made(ATTACHMENTS, (count) => {
    const buffer = DmaBuf.export({ ops: exporter, size: 0x1000n });
    return () => Array.from({ length: count }, () => buffer.attach(device, importer));
  }),
  "memory/pci-function": made(FUNCTIONS, (count) => {
    const text = listing(count);
    return () => {
      const topology = parseTopology(text, { name: "listing" });
      if (topology.functions.length !== count) throw new Error("the listing was not read");
      return topology;
    };
  }),
  [EXPLORED_ORDER]: exploredOrders,
};
