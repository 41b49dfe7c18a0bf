import { type Defect, formatDefect, Sanitizer, sanitize } from "@peerbar/conformance";
import {
  type Attachment,
  type DmaBuf,
  type DmaDirection,
  type DmaMapper,
  type IovaState,
  type PhysRange,
  physAddr,
  type ScatterTable,
} from "@peerbar/core";
import { MockIommu } from "@peerbar/iommu-mock";
import { describe, expect, it } from "vitest";
import { type IovaStrategy, VfioPci } from "../src/index.js";
import { DraftExporter } from "./fixtures/draft-exporter.js";
import { FakeFunction, GIB, MIB, memoryBar } from "./fixtures/fake-function.js";
import { fakeDevice, revocable } from "./fixtures/fake-importer.js";
import { FakeMapper } from "./fixtures/fake-mapper.js";

const START = 0x100_0000_0000n;
const NIC = "0000:3c:00.0";
const PROVIDER = "0000:3b:00.0";
const throughHostBridge = { mapType: () => "thru-host-bridge" as const };

/** A mapper that lets a later link take over what an earlier one has: aliasing without an errno. */
class AliasingMapper extends FakeMapper {
  override link(state: IovaState, offset: bigint, range: PhysRange, way: DmaDirection): void {
    this.mapped.delete(state.address + offset);
    super.link(state, offset, range, way);
  }
}

/** A mapper that has no IOVA space to reserve, and still maps range by range. */
class UnreservedMapper extends FakeMapper {
  override tryAllocIova(): undefined {
    return undefined;
  }
}

/** One importing device at work on one watched buffer. */
interface Work {
  readonly attachment: Attachment;
  readonly mapper: DmaMapper;
  readonly map: () => ScatterTable | undefined;
  readonly unmap: (table: ScatterTable | undefined) => void;
}

interface Scenario {
  readonly rule: string;
  readonly title: string;
  readonly lengths: readonly bigint[];
  readonly mapper: () => DmaMapper;
  readonly run: (work: Work) => void;
  /** All that the sanitizer says of the draft, in order. */
  readonly says: readonly Defect[];
  /** The report that names the defect: its rule and what led there. */
  readonly named: { readonly defect: Defect; readonly rule: string; readonly after: string[] };
}

/** Errors are the exporter's own business here: what counts is what the sanitizer saw. */
function attempt<T>(action: () => T): T | undefined {
  try {
    return action();
  } catch {
    return undefined;
  }
}

function workOn(buffer: DmaBuf, sanitizer: Sanitizer, mapper: DmaMapper): Work {
  sanitize(buffer, sanitizer);
  const device = sanitizer.device(fakeDevice(NIC, mapper));
  const attachment = buffer.attach(device, sanitize(revocable, sanitizer));
  return {
    attachment,
    mapper,
    map() {
      using held = buffer.reservation.lockNow();
      return attempt(() => attachment.map("bidirectional", held));
    },
    unmap(table) {
      if (table === undefined) return;
      using held = buffer.reservation.lockNow();
      attempt(() => {
        attachment.unmap(table, "bidirectional", held);
      });
    },
  };
}

function rangesOf(lengths: readonly bigint[]): PhysRange[] {
  let next = START;
  return lengths.map((length) => {
    const start = physAddr(next);
    next += length;
    return { start, length };
  });
}

function runDraft({ lengths, mapper, run }: Scenario): Sanitizer {
  const sanitizer = new Sanitizer();
  const watch = <T extends Parameters<typeof sanitize>[0]>(ops: T): T => sanitize(ops, sanitizer);
  const draft = new DraftExporter(throughHostBridge, PROVIDER, rangesOf(lengths), watch);
  run(workOn(draft.buffer, sanitizer, mapper()));
  sanitizer.finish();
  return sanitizer;
}

async function runRight(strategy: IovaStrategy, scenario: Scenario): Promise<Sanitizer> {
  const sanitizer = new Sanitizer();
  const vfio = new VfioPci({ p2pdma: throughHostBridge, iovaStrategy: strategy });
  const device = await vfio.open(new FakeFunction({ bars: [memoryBar(0, START, 64n * GIB)] }));
  const ranges = rangesOf(scenario.lengths).map(({ start, length }) => {
    return { offset: start - START, length };
  });
  const buffer = await device.exportDmaBuf({ bar: 0, ranges });
  scenario.run(workOn(buffer, sanitizer, scenario.mapper()));
  sanitizer.finish();
  return sanitizer;
}

/** Maps once, unmaps, leaves. */
function once({ map, unmap, attachment }: Work): void {
  unmap(map());
  attempt(() => {
    attachment.detach();
  });
}

/** Maps, and maps again after an unmap. */
function again(work: Work): void {
  work.unmap(work.map());
  once(work);
}

/** Two mappings at once. */
function twice({ map, unmap, attachment }: Work): void {
  const tables = [map(), map()];
  for (const table of tables) unmap(table);
  attempt(() => {
    attachment.detach();
  });
}

/** The second range cannot be mapped. */
function failing(work: Work): void {
  if (!(work.mapper instanceof FakeMapper)) throw new Error("a mapper that can fail is needed");
  work.mapper.failAt = work.mapper.calls + 2;
  once(work);
}

const strict = (): FakeMapper => new FakeMapper();
const direct = (): FakeMapper => new FakeMapper("bus");
const behind = (mode: "dma" | "dma-fq" | "passthrough") => (): DmaMapper =>
  new MockIommu({ mode }).connect({
    name: NIC,
    isPci: true,
    dmaMask: (1n << 64n) - 1n,
    reserved: [],
  }).dma;

const scenarios: readonly Scenario[] = [
  {
    rule: "D1",
    title: "map, unmap, detach frees the IOVA twice",
    lengths: [MIB],
    mapper: strict,
    run: once,
    says: ["iova-freed-twice"],
    named: {
      defect: "iova-freed-twice",
      rule: "dma-iova R7",
      after: ["reserve", "link", "sync", "destroy", "free"],
    },
  },
  {
    rule: "D1",
    title: "the same under a real allocator",
    lengths: [0x1000n],
    mapper: behind("dma"),
    run: once,
    says: ["iova-freed-twice"],
    named: {
      defect: "iova-freed-twice",
      rule: "dma-iova R7",
      after: ["reserve", "link", "sync", "destroy", "free"],
    },
  },
  {
    rule: "D1",
    title: "freed twice, once queued and once at once",
    lengths: [0x1000n],
    mapper: behind("dma-fq"),
    run: once,
    says: ["iova-freed-twice"],
    named: {
      defect: "iova-freed-twice",
      rule: "dma-iova R7",
      after: ["reserve", "link", "sync", "destroy", "free"],
    },
  },
  {
    rule: "D2",
    title: "a second map links into an IOVA that was freed",
    lengths: [MIB],
    mapper: strict,
    run: again,
    says: ["iova-used-after-free", "iova-used-after-free", "iova-freed-twice"],
    named: {
      defect: "iova-used-after-free",
      rule: "dma-iova R7",
      after: ["reserve", "link", "sync", "destroy", "link"],
    },
  },
  {
    rule: "D2",
    title: "the same under a real allocator",
    lengths: [MIB],
    mapper: behind("dma"),
    run: again,
    says: ["iova-used-after-free", "iova-used-after-free", "iova-freed-twice"],
    named: {
      defect: "iova-used-after-free",
      rule: "dma-iova R7",
      after: ["reserve", "link", "sync", "destroy", "link"],
    },
  },
  {
    rule: "D3",
    title: "two mappings share one IOVA, and the second collides",
    lengths: [MIB],
    mapper: strict,
    run: twice,
    says: ["iova-overlap", "iova-freed-twice"],
    named: {
      defect: "iova-overlap",
      rule: "dma-iova R9",
      after: ["reserve", "link", "sync", "link"],
    },
  },
  {
    rule: "D3",
    title: "the first unmap takes the IOVA from the second mapping",
    lengths: [MIB],
    mapper: () => new AliasingMapper(),
    run: twice,
    says: [
      "iova-overlap",
      "iova-length-mismatch",
      "iova-freed-in-use",
      "iova-freed-twice",
      "mapping-leaked",
      "mapping-leaked",
    ],
    named: {
      defect: "iova-freed-in-use",
      rule: "dma-buf R24",
      after: ["reserve", "link", "sync", "link", "sync", "destroy"],
    },
  },
  {
    rule: "D4",
    title: "two ranges overlap at offset 0",
    lengths: [MIB, 2n * MIB],
    mapper: strict,
    run: once,
    says: ["iova-overlap"],
    named: { defect: "iova-overlap", rule: "dma-iova R9", after: ["reserve", "link", "link"] },
  },
  {
    rule: "D4",
    title: "the same under a real allocator",
    lengths: [MIB, 2n * MIB],
    mapper: behind("dma"),
    run: once,
    says: ["iova-overlap"],
    named: { defect: "iova-overlap", rule: "dma-iova R9", after: ["reserve", "link", "link"] },
  },
  {
    rule: "D5",
    title: "4 GiB count as none: the sync is of nothing",
    lengths: [4n * GIB],
    mapper: strict,
    run: once,
    says: ["iova-length-mismatch", "table-size-mismatch", "iova-not-synced", "iova-freed-twice"],
    named: {
      defect: "iova-length-mismatch",
      rule: "dma-iova R8",
      after: ["reserve", "link", "sync"],
    },
  },
  {
    rule: "D5",
    title: "5 GiB count as one: the table ends short of the buffer",
    lengths: [5n * GIB],
    mapper: strict,
    run: once,
    says: ["table-size-mismatch", "iova-not-synced", "iova-freed-twice"],
    named: {
      defect: "table-size-mismatch",
      rule: "dma-buf R23",
      after: ["attach", "map", "exporter"],
    },
  },
  {
    rule: "D5",
    title: "5 GiB count as one: four are handed out and never synced",
    lengths: [5n * GIB],
    mapper: behind("dma"),
    run: once,
    says: ["table-size-mismatch", "iova-not-synced", "iova-freed-twice"],
    named: { defect: "iova-not-synced", rule: "dma-iova R8", after: ["attach", "map", "exporter"] },
  },
  {
    rule: "D6",
    title: "chunks of UINT_MAX are not whole pages",
    lengths: [6n * GIB],
    mapper: direct,
    run: once,
    says: ["table-misaligned", "unmap-mismatch", "mapping-leaked", "mapping-leaked"],
    named: {
      defect: "table-misaligned",
      rule: "dma-buf R23",
      after: ["attach", "map", "exporter"],
    },
  },
  {
    rule: "D7",
    title: "the way back unmaps what was never mapped",
    lengths: [MIB, MIB],
    mapper: () => new UnreservedMapper(),
    run: failing,
    says: ["unmap-never-mapped"],
    named: { defect: "unmap-never-mapped", rule: "dma-buf R25", after: ["map", "unmap", "unmap"] },
  },
  {
    rule: "D7",
    title: "the same where mappings are direct",
    lengths: [MIB, MIB],
    mapper: direct,
    run: failing,
    says: ["unmap-never-mapped"],
    named: { defect: "unmap-never-mapped", rule: "dma-buf R25", after: ["map", "unmap", "unmap"] },
  },
  {
    rule: "D7",
    title: "what was mapped whole is unmapped in pieces",
    lengths: [6n * GIB],
    mapper: behind("passthrough"),
    run: once,
    says: ["table-misaligned", "unmap-mismatch", "unmap-never-mapped"],
    named: { defect: "unmap-mismatch", rule: "dma-buf R25", after: ["map", "unmap"] },
  },
];

const cases = scenarios.map((scenario): [string, Scenario] => [
  `vfio-pci-dmabuf ${scenario.rule}: ${scenario.title}`,
  scenario,
]);

describe("the sanitizer names the defects of the October 2025 draft", () => {
  it.each(cases)("%s", (_title, scenario) => {
    const { reports } = runDraft(scenario);
    const { named } = scenario;
    expect(reports.map(({ defect }) => defect)).toEqual(scenario.says);
    const report = reports.find(({ defect }) => defect === named.defect);
    expect(report?.rule).toBe(named.rule);
    const steps = report?.history.map(({ operation }) => operation.split(" ")[0]);
    expect(steps).toEqual(named.after);
  });

  it("vfio-pci-dmabuf D1 to D7: each has a scenario", () => {
    expect([...new Set(scenarios.map(({ rule }) => rule))]).toEqual(
      Array.from({ length: 7 }, (_, i) => `D${String(i + 1)}`),
    );
  });
});

describe.each(["mapping", "attachment"] as const)("vfio-pci, an IOVA for each %s", (strategy) => {
  it.each(cases)("is silent in the scenario of %s", async (_title, scenario) => {
    const { reports } = await runRight(strategy, scenario);
    expect(reports.map(formatDefect)).toEqual([]);
  });
});
