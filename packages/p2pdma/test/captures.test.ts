import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import {
  generateServer,
  matrix,
  P2pdma,
  parseTopology,
  shippedCaptures,
  toCapture,
} from "../src/index.js";

const folder = new URL("../captures/", import.meta.url);

describe("shipped captures", () => {
  it("are exactly what the generator makes (pnpm captures writes them)", () => {
    const files = readdirSync(folder).filter((name) => /^gpu-.*\.json$/.test(name));
    expect(files.sort()).toEqual(Object.keys(shippedCaptures).sort());
    for (const [name, make] of Object.entries(shippedCaptures)) {
      expect(readFileSync(new URL(name, folder), "utf8") === toCapture(make()), name).toBe(true);
    }
  });

  it("gpu-server-2s has 8 GPUs and all three answers between them on Intel", () => {
    const text = readFileSync(new URL("gpu-server-2s.json", folder), "utf8");
    const topology = parseTopology(text, { name: "gpu-server-2s.json" });
    const gpus = topology.functions.filter(
      (fn) => (fn.classCode ?? 0) >>> 16 === 3 && fn.vendorId === 0x10de,
    );
    expect(gpus).toHaveLength(8);
    expect(topology.hostBridges).toHaveLength(5);
    expect(new Set(gpus.map((gpu) => gpu.numaNode))).toEqual(new Set([0, 1]));
    const counts = matrix(new P2pdma(topology, { cpu: "intel" }), gpus).counts();
    expect(counts).toEqual({
      "bus-addr": 8 + 2 + 2,
      "thru-host-bridge": 2 + 8,
      "not-supported": 2 + 8 + 32,
      unknown: 0,
    });
  });

  it.each([
    // 8 GPUs below 4 switches: 8 with itself and 8 by switch pair; the other 48 through a host bridge.
    ["gpu-server-1s", { "bus-addr": 16, "thru-host-bridge": 48, "not-supported": 0, unknown: 0 }],
    // ACS turns each switch pair upstream; the host bridges are listed, so all of them go through.
    [
      "gpu-server-1s-acs",
      { "bus-addr": 8, "thru-host-bridge": 56, "not-supported": 0, unknown: 0 },
    ],
    [
      "gpu-server-2s-acs",
      { "bus-addr": 8, "thru-host-bridge": 56, "not-supported": 0, unknown: 0 },
    ],
  ])("%s answers for its 8 GPUs", (name, expected) => {
    const file = `${name}.json`;
    const topology = parseTopology(readFileSync(new URL(file, folder), "utf8"), { name: file });
    const gpus = topology.functions.filter(
      (fn) => (fn.classCode ?? 0) >>> 16 === 3 && fn.vendorId === 0x10de,
    );
    expect(gpus).toHaveLength(8);
    expect(matrix(new P2pdma(topology), gpus).counts()).toEqual(expected);
  });

  it("parse back losslessly", () => {
    for (const make of Object.values(shippedCaptures)) {
      const topology = make();
      const again = parseTopology(toCapture(topology));
      expect(again.functions).toEqual(topology.functions);
      expect(again.hostBridges).toEqual(topology.hostBridges);
      expect(again.iommuGroups).toEqual(topology.iommuGroups);
      expect(again.machine).toEqual(topology.machine);
      expect(again.source).toEqual(topology.source);
      expect(toCapture(again)).toBe(toCapture(topology));
    }
  });

  it("a seed changes bus numbers and the order below the switches, not the kind of machine", () => {
    const a = generateServer({ seed: 7 });
    const b = generateServer({ seed: 7 });
    const c = generateServer({ seed: 8 });
    expect(toCapture(a)).toBe(toCapture(b));
    expect(toCapture(a)).not.toBe(toCapture(c));
    expect(c.functions).toHaveLength(a.functions.length);
  });
});
