import type { PciBarInfo, PciTopology } from "@peerbar/p2pdma";
import { generateFleet, generateServer } from "@peerbar/p2pdma";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Machine } from "../src/index.js";
import { assignAddresses } from "../src/layout/assign.js";
import { contains, disjoint, FOUR_GIB, type Layout, powerOfTwo } from "../src/layout/layout.js";
import { randomTopology } from "./property/random-tree.js";
import { bar, changed, GIB, MIB, topologyOf } from "./topologies.js";

/** What every layout must hold, whatever it was made from. */
function checkLayout(topology: PciTopology, layout: Layout): void {
  const { functions } = topology;
  const spansOf = (fn: number) =>
    (layout.bars[fn] ?? []).map(({ bus, length }) => ({ first: bus, last: bus + length - 1n }));
  const cpu = layout.bars
    .flat()
    .map((one) => ({ first: one.cpu, last: one.cpu + one.length - 1n }));
  expect(disjoint(cpu)).toBe(true);
  for (const [index, fn] of functions.entries()) {
    for (const one of layout.bars[index] ?? []) {
      expect(one.bus % powerOfTwo(one.length)).toBe(0n);
      expect(one.cpu).toBeGreaterThanOrEqual(0n);
      if (!one.is64Bit) expect(one.bus + one.length <= FOUR_GIB).toBe(true);
      const home = layout.apertures.filter(
        ({ cpu: start, length }) => one.cpu >= start && one.cpu + one.length <= start + length,
      );
      expect(home.map(({ hostBridge }) => hostBridge)).toEqual([fn.hostBridge]);
      expect(home[0]?.busOffset).toBe(one.bus - one.cpu);
    }
    for (const span of [...spansOf(index), ...(layout.windows[index] ?? [])]) {
      const above = layout.windows[fn.parent];
      if (above !== undefined && (spansOf(index).length > 0 || hasBars(topology, layout, index))) {
        expect(above.some((window) => contains(window, span))).toBe(true);
      }
    }
    const below = functions.flatMap((child, i) =>
      child.parent === index ? [...spansOf(i), ...(layout.windows[i] ?? [])] : [],
    );
    expect(disjoint(below)).toBe(true);
    for (const window of layout.windows[index] ?? []) {
      expect(window.first % MIB).toBe(0n);
      expect((window.last + 1n) % MIB).toBe(0n);
    }
  }
}

function hasBars(topology: PciTopology, layout: Layout, index: number): boolean {
  if ((layout.bars[index] ?? []).length > 0) return true;
  return topology.functions.some((fn, i) => fn.parent === index && hasBars(topology, layout, i));
}

function spoil(shown: PciBarInfo, what: string = "keep"): PciBarInfo {
  const { start, busStart } = shown;
  const far = 1n << 44n;
  switch (what) {
    case "drop":
      return { ...shown, start: 0n, busStart: 0n };
    case "misalign":
      return { ...shown, busStart: busStart + 8n };
    case "same":
      return { ...shown, start: 0x9000_0000n, busStart: 0x9000_0000n };
    case "outside":
      return { ...shown, start: start + far, busStart: busStart + far };
    default:
      return shown;
  }
}

describe("the address assigner", () => {
  it("keeps every address of a consistent topology and says nothing", () => {
    const topology = generateServer({ seed: 3 });
    const layout = assignAddresses(topology);
    checkLayout(topology, layout);
    for (const [i, fn] of topology.functions.entries()) {
      for (const one of layout.bars[i] ?? []) {
        const shown = fn.bars[one.index];
        expect([one.bus, one.cpu, one.length]).toEqual([
          shown?.busStart,
          shown?.start,
          shown?.length,
        ]);
      }
    }
    expect(layout.notes).toEqual([]);
  });

  it("gives random trees without any address a legal layout, always the same", () => {
    fc.assert(
      fc.property(randomTopology, ({ topology }) => {
        const layout = assignAddresses(topology);
        checkLayout(topology, layout);
        expect(assignAddresses(topology)).toEqual(layout);
        const lost = layout.notes.some(({ kind }) => kind === "bar-unassigned");
        if (!lost) {
          const shown = topology.functions.flatMap((fn) =>
            fn.bars.filter((one) => one !== undefined),
          );
          expect(layout.bars.flat().length).toBe(shown.length);
        }
      }),
      { numRuns: 150 },
    );
  });

  it("lays out servers whose addresses were scrambled or taken away", () => {
    const topology = generateServer({ seed: 1, vfs: 2 });
    const scramble = fc.array(fc.constantFrom("keep", "drop", "misalign", "same", "outside"), {
      minLength: 1,
      maxLength: 20,
    });
    fc.assert(
      fc.property(scramble, fc.boolean(), (how, windows) => {
        let turn = 0;
        const broken = changed(topology, (fn) => ({
          ...fn,
          windows: windows ? fn.windows : [],
          bars: fn.bars.map((one) => one && spoil(one, how[turn++ % how.length])),
        }));
        checkLayout(broken, assignAddresses(broken));
      }),
      { numRuns: 60 },
    );
  });

  it("puts a BAR without an address into the hole of its bridge's window", () => {
    const window = { kind: "prefetchable", first: 0x60_0000_0000n, last: 0x60_00ff_ffffn } as const;
    const topology = topologyOf([
      {
        at: "0000:00:01.0",
        type: "root-port",
        windows: [window],
        children: [
          { at: "0000:01:00.0", bars: [bar(MIB, 0x60_0000_0000n)] },
          { at: "0000:01:00.1", bars: [bar(2n * MIB)] },
        ],
      },
    ]);
    const layout = assignAddresses(topology);
    expect(layout.bars[2]?.[0]?.bus).toBe(0x60_0020_0000n);
    expect(layout.windows[0]).toEqual([window]);
    expect(layout.notes).toEqual([
      expect.objectContaining({ kind: "bar-moved", functions: ["0000:01:00.1"] }),
    ]);
  });

  it("says which BARs have no room, and builds the machine all the same", () => {
    const large = {
      length: 2n * GIB,
      start: 0n,
      busStart: 0n,
      is64Bit: false,
      prefetchable: false,
    };
    const topology = topologyOf([
      {
        at: "0000:00:01.0",
        type: "root-port",
        children: [{ at: "0000:01:00.0", bars: [large, large, large] }],
      },
    ]);
    const machine = Machine.from(topology);
    expect(machine.notes.map(({ kind }) => kind)).toContain("bar-unassigned");
    expect(machine.function("0000:01:00.0").bars.every((one) => one === undefined)).toBe(true);
  });

  it("lays out 4,096 endpoints", () => {
    const topology = generateFleet();
    const layout = assignAddresses(topology);
    expect(layout.notes.filter(({ kind }) => kind !== "bar-moved")).toEqual([]);
    const shown = topology.functions.flatMap((fn) => fn.bars.filter((one) => one !== undefined));
    expect(layout.bars.flat().length).toBe(shown.length);
    const cpu = layout.bars
      .flat()
      .map((one) => ({ first: one.cpu, last: one.cpu + one.length - 1n }));
    expect(disjoint(cpu)).toBe(true);
  });

  it("host memory and MMIO never share an address", () => {
    const machine = Machine.from(generateServer(), { ram: [{ start: 0n, length: 1n << 46n }] });
    for (const { start, length } of machine.ram.ranges) {
      for (const fn of machine.functions) {
        for (const one of fn.memoryBars) {
          expect(one.start + one.length <= start || one.start >= start + length).toBe(true);
        }
      }
    }
  });
});
