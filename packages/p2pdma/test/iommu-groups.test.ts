import { describe, expect, it } from "vitest";
import { computeIommuGroups, parseTopology, toCapture } from "../src/index.js";
import { Config } from "./config-bytes.js";
import { host, machine } from "./machine.js";

/** Ports that isolate, and an upstream port without ACS whose multi-function bit is as given. */
function groupsWith(multi: boolean | undefined): readonly string[][] {
  const topology = machine([
    host("00:00.0", "8086:2f00"),
    { at: "00:01.0", type: "root-port", buses: "01-04", acs: 0x1d },
    {
      at: "01:00.0",
      type: "switch-upstream",
      buses: "02-04",
      ...(multi === undefined ? {} : { multi }),
    },
    { at: "02:00.0", buses: "03-03", acs: 0x1d },
    { at: "02:01.0", buses: "04-04", acs: 0x1d },
    { at: "03:00.0" },
    { at: "04:00.0" },
  ]);
  return computeIommuGroups(topology).groups.map((members) =>
    members.map((index) => topology.at(index).address.slice(5)),
  );
}

describe("multi-function devices without ACS", () => {
  it("the header's bit counts, whether or not other functions answer (pci_acs_enabled)", () => {
    expect(groupsWith(true)).toContainEqual([
      "01:00.0",
      "02:00.0",
      "02:01.0",
      "03:00.0",
      "04:00.0",
    ]);
    expect(groupsWith(false).every((members) => members.length === 1)).toBe(true);
  });

  it("where the input does not show it, the functions that are there count", () => {
    expect(groupsWith(undefined)).toEqual(groupsWith(false));
  });

  it("is read from config space and kept in a capture", () => {
    const nic = (headerType: number): string =>
      new Config().header(0x15b3, 0x101d, 0x020000, headerType).express(0).dump("00:03.0", 256);
    for (const [headerType, multiFunction] of [
      [0x80, true],
      [0x00, false],
    ] as const) {
      const topology = parseTopology(nic(headerType));
      expect(topology.at(0)).toMatchObject({ headerType: 0, multiFunction });
      expect(parseTopology(toCapture(topology)).functions).toEqual(topology.functions);
    }
    expect(parseTopology("00:03.0 Ethernet controller: X\n").at(0)).not.toHaveProperty(
      "multiFunction",
    );
  });
});
