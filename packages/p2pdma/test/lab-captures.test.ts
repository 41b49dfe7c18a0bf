import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { matrix, P2pdma, parseTopology, toCapture } from "../src/index.js";

const folder = new URL("../captures/", import.meta.url);
const names = readdirSync(folder)
  .map((file) => /^(lab-.*)\.distances\.json$/.exec(file)?.[1])
  .filter((name) => name !== undefined);

interface Distances {
  readonly kernel: string;
  readonly functions: readonly string[];
  /** By provider, then client; -1 where the kernel does not support the pair. */
  readonly distances: readonly (readonly number[])[];
}

const read = (file: string): string => readFileSync(new URL(file, folder), "utf8");

describe("captures taken inside the kernel lab, against what that kernel answered", () => {
  it("there are machines with ACS on, with ACS off, and with more than one root complex", () => {
    expect(names).toEqual(expect.arrayContaining(["lab-switch", "lab-acs-off", "lab-roots"]));
    const bridges = (name: string): number =>
      parseTopology(read(`${name}.json`)).hostBridges.length;
    expect(bridges("lab-switch")).toBe(1);
    expect(bridges("lab-roots")).toBe(3);
  });

  it.each(names)(
    "p2pdma R7 to R13, R16, R17, R19: %s: every ordered pair has the kernel's distance",
    (name) => {
      const topology = parseTopology(read(`${name}.json`), { name });
      const { functions, distances } = JSON.parse(read(`${name}.distances.json`)) as Distances;
      expect(topology.functions.map(({ address }) => address)).toEqual(functions);
      const pairs = matrix(new P2pdma(topology), functions);
      const ours = functions.map((_provider, row) =>
        functions.map((_client, column) =>
          pairs.mapTypeAt(row, column) === "not-supported" ? -1 : pairs.distanceAt(row, column),
        ),
      );
      expect(ours).toEqual(distances);
    },
  );

  it.each(names)(
    "%s is a capture that reads back as itself, and shows no serial number",
    (name) => {
      const text = read(`${name}.json`);
      expect(toCapture(parseTopology(text)) === text).toBe(true);
      expect(text).not.toMatch(/serial/i);
    },
  );

  it("ACS decides between the two: the functions under one port go by bus only where nothing redirects", () => {
    const typeOf = (name: string): string => {
      const p2pdma = new P2pdma(parseTopology(read(`${name}.json`)));
      return p2pdma.decide("0000:07:00.0", "0000:07:00.1").mapType;
    };
    expect(typeOf("lab-switch")).toBe("thru-host-bridge");
    expect(typeOf("lab-acs-off")).toBe("bus-addr");
  });
});
