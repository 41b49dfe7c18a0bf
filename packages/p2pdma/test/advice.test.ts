import { describe, expect, it } from "vitest";
import {
  applyEdits,
  dmaMapping,
  fixes,
  generateServer,
  linkBottleneck,
  linkRate,
  MapSysfsTree,
  numaNodes,
  P2pdma,
  PciTopology,
  parseSysfs,
  parseTopology,
  pathClass,
  toCapture,
  whatIf,
} from "../src/index.js";
import { Config } from "./config-bytes.js";
import { host, machine, switchMachine } from "./machine.js";

// Switches at 19 (off), 51 (redirecting), 89 (off), c1 (redirecting); GPUs at 1b 1c, 53 54, 8b 8c, c3 c4; NICs at 1d 55 8d c5.
const server = generateServer({ acs: "mixed", hostBridges: "mixed", vfs: 1 });
const p2pdma = new P2pdma(server, { cpu: "intel" });

function decide(provider: string, client: string) {
  return p2pdma.decide(provider, client);
}

describe("path class, NUMA nodes", () => {
  it.each([
    ["1b:00.0", "1b:00.0", "X"],
    ["1b:00.0", "1c:00.0", "PIX"],
    ["1b:00.0", "1d:00.1", "PIX"],
    ["1b:00.0", "53:00.0", "NODE"],
    ["1b:00.0", "8b:00.0", "SYS"],
    ["02:00.0", "03:00.0", "PHB"],
  ])("%s and %s are %s", (provider, client, expected) => {
    expect(pathClass(server, decide(provider, client))).toBe(expected);
  });

  it("two switches below one root port are PXB, two functions of one device PIX", () => {
    const topology = machine([
      host("00:00.0", "8086:1234"),
      { at: "00:01.0", type: "root-port", buses: "01-06" },
      { at: "01:00.0", type: "switch-upstream", buses: "02-06" },
      { at: "02:00.0", buses: "03-03" },
      { at: "02:01.0", buses: "04-06" },
      { at: "03:00.0" },
      { at: "03:00.1" },
      { at: "04:00.0", type: "switch-upstream", buses: "05-06" },
      { at: "05:00.0", buses: "06-06" },
      { at: "06:00.0" },
    ]);
    const asked = new P2pdma(topology, { cpu: "intel" });
    expect(pathClass(topology, asked.decide("03:00.0", "06:00.0"))).toBe("PXB");
    expect(pathClass(topology, asked.decide("03:00.0", "03:00.1"))).toBe("PIX");
  });

  it("bridges of unknown port type may count: PIX only where they cannot, PXB where others do", () => {
    // As an ordinary user sees it: header types, no capabilities.
    const functions = switchMachine({}).functions.map((fn) => ({ ...fn, portType: undefined }));
    const { hostBridges, source } = switchMachine({});
    const topology = new PciTopology({ functions, hostBridges, source });
    const asked = new P2pdma(topology, { cpu: "intel" });
    expect(pathClass(topology, asked.decide("04:00.0", "05:00.0"))).toBeUndefined();
  });

  it("says nothing where a bridge on the way is not in the input", () => {
    const topology = machine([
      host("00:00.0", "8086:1234"),
      { at: "00:01.0", type: "root-port", buses: "01-05" },
      { at: "04:00.0" },
      { at: "05:00.0" },
    ]);
    const decision = new P2pdma(topology, { cpu: "intel" }).decide("04:00.0", "05:00.0");
    expect(pathClass(topology, decision)).toBeUndefined();
  });

  it("says nothing where the roots or the nodes are not shown", () => {
    const loose = machine([{ at: "65:00.0" }, { at: "b1:00.0" }], false);
    expect(pathClass(loose, new P2pdma(loose).decide(0, 1))).toBeUndefined();
    const { hostBridges, source } = server;
    const functions = server.functions.map((fn) => ({ ...fn, numaNode: undefined }));
    const bare = new PciTopology({ functions, hostBridges, source });
    expect(pathClass(bare, new P2pdma(bare).decide("1b:00.0", "8b:00.0"))).toBeUndefined();
    expect(numaNodes(bare, decide("1b:00.0", "8b:00.0")).sameNode).toBeUndefined();
    expect(numaNodes(server, decide("1b:00.0", "8d:00.1"))).toEqual({
      provider: 0,
      client: 1,
      sameNode: false,
    });
  });
});

describe("DMA mapping kind (dma-iova, section 1)", () => {
  const through = decide("1b:00.0", "53:00.0");

  it("follows map type and the type of the client's group", () => {
    expect(dmaMapping(server, decide("1b:00.0", "1c:00.0")).kind).toBe("bus");
    expect(dmaMapping(server, decide("1b:00.0", "8b:00.0")).kind).toBe("none");
    expect(dmaMapping(server, through).kind).toBe("iova");
    expect(dmaMapping(server, through, "identity").kind).toBe("direct");
    expect(dmaMapping(server, through, "DMA").kind).toBe("iova");
    expect(dmaMapping(server, through, "none").kind).toBe("direct");
    expect(dmaMapping(server, through, "unmanaged")).toMatchObject({
      kind: "unknown",
      possible: ["iova", "direct"],
    });
  });

  it("is direct without an IOMMU and with identity domains", () => {
    for (const iommu of ["off", "passthrough"] as const) {
      const machineWith = generateServer({ acs: "on", iommu });
      const decision = new P2pdma(machineWith).decide("1b:00.0", "1c:00.0");
      expect(decision.mapType).toBe("thru-host-bridge");
      expect(dmaMapping(machineWith, decision).kind).toBe("direct");
    }
  });

  it("is unknown where the input shows no groups, with what it may be", () => {
    const topology = switchMachine({ hostId: "8086:09a2", left: "unknown" });
    const decision = new P2pdma(topology, { cpu: "intel" }).decide("04:00.0", "05:00.0");
    expect(dmaMapping(topology, decision)).toMatchObject({
      kind: "unknown",
      possible: ["bus", "iova", "direct"],
    });
  });
});

describe("link bottleneck", () => {
  it("is the narrowest link, by both ends, switch-local or up to the roots", () => {
    const local = linkBottleneck(server, decide("1b:00.0", "1e:00.0"));
    expect(local.current).toEqual({
      address: "0000:1e:00.0",
      speed: 16,
      width: 4,
      gigabits: linkRate(16, 4),
    });
    expect(local.notShown).toEqual([]);
    const far = linkBottleneck(server, decide("1b:00.0", "53:00.0"));
    expect(far.current).toMatchObject({ speed: 32, width: 16 });
    expect(linkBottleneck(server, decide("1b:00.0", "1b:00.0")).current).toBeUndefined();
  });

  it("takes a VF's link from its PF", () => {
    expect(linkBottleneck(server, decide("1b:00.0", "1d:00.1")).current).toMatchObject({
      speed: 16,
      width: 16,
      address: "0000:1d:00.1",
    });
  });

  it("where the roots are not shown, a link above may be there and is not shown either", () => {
    const loose = machine([{ at: "65:00.0" }, { at: "b1:00.0" }], false);
    expect(linkBottleneck(loose, new P2pdma(loose).decide(0, 1)).notShown).toEqual([
      "0000:65:00.0",
      "0000:b1:00.0",
    ]);
  });

  it("names what it cannot see", () => {
    const topology = switchMachine({});
    const found = linkBottleneck(topology, new P2pdma(topology).decide("04:00.0", "05:00.0"));
    expect(found).toEqual({
      current: undefined,
      maximum: undefined,
      notShown: ["0000:04:00.0", "0000:05:00.0"],
    });
  });

  it("a narrowed link shows in current, not in maximum", () => {
    const { hostBridges, source } = server;
    const functions = server.functions.map((fn) =>
      fn.address === "0000:1c:00.0"
        ? { ...fn, link: { speed: 2.5, width: 8, maxSpeed: 32, maxWidth: 16 } }
        : fn,
    );
    const slow = new PciTopology({ functions, hostBridges, source });
    const found = linkBottleneck(slow, new P2pdma(slow).decide("1b:00.0", "1c:00.0"));
    expect(found.current).toMatchObject({ address: "0000:1c:00.0", gigabits: 16 });
    expect(found.maximum).toMatchObject({ speed: 32, width: 16 });
  });
});

describe("provider BARs", () => {
  it("p2pdma R2: memory BARs are providers", () => {
    expect(
      p2pdma
        .providerBars("1b:00.0")
        .map(({ bar, isProvider }) => [bar.index, bar.length, isProvider]),
    ).toEqual([
      [0, 1n << 24n, true],
      [2, 1n << 37n, true],
      [4, 1n << 25n, true],
    ]);
  });
});

describe("what a provider has to give", () => {
  const listing = (regions: string): PciTopology =>
    parseTopology(
      `00:00.0 Host bridge [0600]: Intel Corporation Device [8086:6f00]\n\tFlags: fast devsel\n\n00:03.0 3D controller [0302]: NVIDIA Corporation Device [10de:0001]\n\tFlags: fast devsel\n${regions}\tCapabilities: <access denied>\n\n`,
    );
  const can = (topology: PciTopology) => new P2pdma(topology).canProvide("00:03.0");

  it.each([
    ["memory", "\tMemory at a0000000 (32-bit, non-prefetchable) [size=16M]\n", true],
    ["I/O only", "\tI/O ports at e000 [size=128]\n", false],
    ["unassigned", "\tMemory at <unassigned> (64-bit, prefetchable) [disabled]\n", false],
    ["ignored", "\tMemory at <ignored> (32-bit, non-prefetchable)\n", false],
  ])("p2pdma R2, R4: %s", (_, regions, expected) => {
    const topology = listing(regions);
    expect(can(topology)).toBe(expected);
    expect(can(parseTopology(toCapture(topology)))).toBe(expected);
    expect(new P2pdma(topology).providerBars("00:03.0").some((bar) => bar.isProvider)).toBe(
      expected,
    );
  });

  it("p2pdma R4: the kernel's list of resources shows all BARs, none included", () => {
    const directory = "devices/pci0000:00/0000:00:03.0";
    const fn = new Config().header(0x10de, 1, 0x030200).express(0);
    const topology = (resource: string) =>
      parseSysfs(
        new MapSysfsTree([
          [`${directory}/config`, fn.bytes],
          [`${directory}/resource`, new TextEncoder().encode(resource)],
        ]),
        { name: "/sys" },
      );
    const none = "0x0000000000000000 0x0000000000000000 0x0000000000000000\n";
    const io = "0x000000000000e000 0x000000000000e07f 0x0000000000040101\n";
    expect(can(topology(none))).toBe(false);
    expect(can(topology(io))).toBe(false);
    const memory = "0x00000000a0000000 0x00000000a0ffffff 0x0000000000040200\n";
    expect(can(topology(io + memory))).toBe(true);
  });

  it("is not known of a plain listing, and of what the input does not show", () => {
    expect(can(parseTopology("00:03.0 3D controller: NVIDIA Corporation Device 0001\n"))).toBe(
      undefined,
    );
    expect(new P2pdma(switchMachine({})).canProvide("04:00.0")).toBe(undefined);
    // Regions are the first that people leave out of a listing.
    expect(can(listing(""))).toBe(undefined);
  });
});

describe("fixes", () => {
  it("a parameter by path only where every step is shown, and is another text (p2pdma R33)", () => {
    const texts = (functions: Parameters<typeof machine>[0], ends: [string, string]): unknown =>
      fixes(new P2pdma(machine(functions), { cpu: "intel" }), ...ends)
        .find(({ kind }) => kind === "acs")
        ?.lines.map(({ text }) => text)
        .filter((text) => text.includes("disable_acs_redir"));
    const start = [
      host("00:00.0", "8086:1234"),
      { at: "00:01.0", type: "root-port", buses: "01-05", acs: 0x1d },
    ] as const;
    expect(texts([...start, { at: "01:00.0" }, { at: "01:00.1" }], ["01:00.0", "01:00.1"])).toEqual(
      ["pci=disable_acs_redir=0000:00:01.0"],
    );
    const functions = [...start, { at: "04:00.0", acs: 0x04 }, { at: "04:00.1" }];
    expect(texts(functions, ["04:00.0", "04:00.0"])).toEqual([
      "pci=disable_acs_redir=0000:04:00.0",
    ]);
  });

  it("none is needed for bus-addr", () => {
    expect(fixes(p2pdma, "1b:00.0", "1c:00.0")).toEqual([]);
  });

  it("redirection: the ports, in kernel parameters and for setpci, and what it costs", () => {
    const [fix, ...rest] = fixes(p2pdma, "c3:00.0", "c4:00.0");
    expect(fix).toMatchObject({
      kind: "acs",
      gives: "bus-addr",
      ports: ["0000:c2:00.0", "0000:c2:01.0"],
      risk: undefined,
    });
    const lines = fix?.lines.map((line) => line.text);
    expect(lines).toEqual([
      "pci=disable_acs_redir=0000:c2:00.0;0000:c2:01.0",
      "pci=disable_acs_redir=0000:c0:01.0/00.0/00.0;0000:c0:01.0/00.0/01.0",
      "pci=config_acs=x0x00xx@0000:c2:00.0;x0x00xx@0000:c2:01.0",
      "setpci -s 0000:c2:00.0 ECAP_ACS+6.w=0000:002c",
      "setpci -s 0000:c2:01.0 ECAP_ACS+6.w=0000:002c",
    ]);
    expect(fix?.groups?.after).toEqual([
      ["0000:c2:00.0", "0000:c3:00.0"],
      ["0000:c2:01.0", "0000:c4:00.0"],
    ]);
    expect(fix?.cost).toContain("past the IOMMU; no two devices come into one IOMMU group");
    expect(rest.map((other) => other.kind)).toEqual(["trust"]);
  });

  it("names the devices that come into one group", () => {
    const [fix] = fixes(p2pdma, "c3:00.0", "c5:00.1");
    expect(fix?.cost).toContain("given away together: 0000:c5:00.0 0000:c5:00.1");
  });

  it("doing what the first fix says gives what it says", () => {
    for (const [a, b] of [
      ["53:00.0", "54:00.0"],
      ["c3:00.0", "c5:00.0"],
      ["c5:00.1", "c3:00.0"],
    ] as const) {
      const [fix] = fixes(p2pdma, a, b);
      const changed = whatIf(
        server,
        (fix?.ports ?? []).map((at) => ({ kind: "acs", at, control: "off" })),
        { cpu: "intel" },
      );
      expect(changed.after.decide(a, b).mapType).toBe(fix?.gives);
      expect(fix?.gives).toBe("bus-addr");
    }
  });

  it("different roots: another slot, and a patched kernel with its risk", () => {
    const found = fixes(p2pdma, "1b:00.0", "8b:00.0");
    expect(found.map((fix) => fix.kind)).toEqual(["move", "trust"]);
    expect(found[0]?.what).toContain("0000:8b:00.0 in below the switch 0000:19:00.0");
    expect(found[1]).toMatchObject({ gives: "thru-host-bridge" });
    expect(found[1]?.risk).toContain("corrupt");
    expect(found[1]?.lines[0]?.text).toBe("{0x8086, 0x352a, 0},");
  });

  it("p2pdma R16: no entry in the list helps where its root bus has no key device", () => {
    const topology = machine([
      { at: "00:02.0", id: "8086:6f28", type: "rc-integrated-endpoint" },
      { at: "00:03.0", type: "root-port", buses: "01-01" },
      { at: "00:04.0", type: "root-port", buses: "02-02" },
      { at: "01:00.0" },
      { at: "02:00.0" },
    ]);
    const asked = new P2pdma(topology, { cpu: "intel" });
    expect(asked.decide("01:00.0", "02:00.0").reason).toContain("neither 00.0 nor a root port");
    expect(asked.decide("01:00.0", "02:00.0").hostBridges[0]).toMatchObject({
      key: undefined,
      keyId: undefined,
      listed: false,
    });
    expect(fixes(asked, "01:00.0", "02:00.0")).toEqual([]);
  });

  it("p2pdma R16: an entry for one host bridge has to change, once; a second would never be read", () => {
    const topology = machine([
      host("00:00.0", "8086:2f00"),
      { at: "00:03.0", type: "root-port", buses: "01-01" },
      { at: "01:00.0" },
      host("80:00.0", "8086:2f00"),
      { at: "80:03.0", type: "root-port", buses: "81-81" },
      { at: "81:00.0" },
    ]);
    const asked = new P2pdma(topology, { cpu: "intel" });
    const [fix, ...others] = fixes(asked, "01:00.0", "81:00.0");
    expect(others).toEqual([]);
    expect(fix).toMatchObject({ kind: "trust", gives: "thru-host-bridge" });
    expect(fix?.lines).toEqual([
      {
        where: expect.stringContaining("in place of its entry") as string,
        text: "{0x8086, 0x2f00, 0},",
      },
    ]);
    expect(fix?.risk).toContain("below itself only");
    expect(asked.copy({ trust: "all" }).decide("01:00.0", "81:00.0").risk).toBe(fix?.risk);
    expect(whatIf(topology, [{ kind: "trust-host-bridge" }]).risks).toEqual([fix?.risk]);
  });

  it("what cannot be plugged in is not to be moved, and nothing goes below an endpoint", () => {
    const parts = [
      host("00:00.0", "8086:6f00"),
      { at: "00:03.0", type: "root-port", buses: "01-05" },
      { at: "00:1f.6", type: "rc-integrated-endpoint" },
      { at: "01:00.0", type: "switch-upstream", buses: "02-05" },
      { at: "02:00.0", buses: "03-03" },
      { at: "02:1f.0" },
      { at: "03:00.0" },
      { at: "00:04.0", type: "root-port", buses: "06-06" },
      { at: "06:00.0" },
    ] as const;
    const asked = new P2pdma(machine(parts), { cpu: "intel" });
    const moves = (client: string) =>
      fixes(asked, "03:00.0", client).filter((fix) => fix.kind === "move");
    expect(moves("00:1f.6")).toEqual([]);
    expect(moves("06:00.0")).toMatchObject([
      { ports: [], cost: expect.stringContaining("no port of that switch is free") as string },
    ]);
  });

  it("every move that is advised is one that whatIf makes", () => {
    for (const client of server.endpoints()) {
      for (const fix of fixes(p2pdma, "1b:00.0", client)) {
        const [, device = "", port = ""] =
          /--move (\S+)=(\S+)/.exec(fix.lines[0]?.text ?? "") ?? [];
        if (fix.kind === "move" && port !== "") {
          applyEdits(server, [{ kind: "move", device, port }]);
        }
      }
    }
  });

  it("unknown: what to show first", () => {
    const hidden = switchMachine({ left: "unknown", hostId: "8086:1234" });
    expect(fixes(new P2pdma(hidden, { cpu: "intel" }), "04:00.0", "05:00.0")[0]).toMatchObject({
      kind: "look",
      gives: undefined,
    });
    const cpu = machine([host("00:00.0", "1af4:1"), { at: "00:03.0" }, { at: "00:04.0" }]);
    const found = fixes(new P2pdma(cpu, { cpu: "unknown" }), "00:03.0", "00:04.0");
    expect(found.map((fix) => fix.lines[0]?.text)).toEqual([
      expect.stringContaining("/proc/cpuinfo"),
    ]);
  });
});

describe("trust against the kernel's list", () => {
  it("makes the pair work, marked with its risk", () => {
    const decision = p2pdma.copy({ trust: "all" }).decide("1b:00.0", "8b:00.0");
    expect(decision.mapType).toBe("thru-host-bridge");
    expect(decision.risk).toContain("corrupt");
    expect(p2pdma.decide("1b:00.0", "53:00.0").risk).toBeUndefined();
    expect(p2pdma.copy({ trust: "all" }).decide("1b:00.0", "1c:00.0").risk).toBeUndefined();
  });

  it("of one host bridge does not help where the other is refused", () => {
    const one = p2pdma.copy({ trust: ["0000:88"] });
    expect(one.decide("1b:00.0", "8b:00.0").mapType).toBe("thru-host-bridge");
    expect(one.decide("1b:00.0", "c3:00.0").mapType).toBe("not-supported");
  });
});

describe("whatIf", () => {
  it("clearing ACS at one switch changes its pairs and groups, and nothing else", () => {
    const before = toCapture(server);
    const result = whatIf(
      server,
      ["52:00.0", "52:01.0", "52:02.0", "52:03.0"].map((at) => ({
        kind: "acs",
        at,
        control: "off",
      })),
      { cpu: "intel" },
    );
    expect(toCapture(server)).toBe(before);
    expect(new Set(result.pairs.map((pair) => pair.before.mapType))).toEqual(
      new Set(["thru-host-bridge"]),
    );
    expect(new Set(result.pairs.map((pair) => pair.after.mapType))).toEqual(new Set(["bus-addr"]));
    // Two GPUs, a NIC, its VF and a drive: 20 pairs, but the NIC and its VF were below one port already.
    const below = result.pairs.filter(
      (pair) => /^0000:5/.test(pair.provider) && /^0000:5/.test(pair.client),
    );
    expect(below).toHaveLength(result.pairs.length);
    // Each port takes in what is below it: of two functions below one port, the NIC and its VF come together.
    expect(result.groups?.after).toEqual([
      ["0000:52:00.0", "0000:53:00.0"],
      ["0000:52:01.0", "0000:54:00.0"],
      ["0000:52:02.0", "0000:55:00.0", "0000:55:00.1"],
      ["0000:52:03.0", "0000:56:00.0"],
    ]);
    expect(result.changes).toHaveLength(4);
    expect(result.risks).toEqual([]);
  });

  it("turning the IOMMU on redirects everywhere, off nowhere", () => {
    const off = generateServer({ acs: "off", iommu: "off" });
    const on = whatIf(off, [{ kind: "iommu", mode: "on" }]);
    expect(on.after.decide("1b:00.0", "1c:00.0").mapType).toBe("thru-host-bridge");
    expect(on.groups?.before).toEqual([]);
    expect(on.groups?.after.length).toBeGreaterThan(20);
    const change = on.pairs.find(
      (pair) => pair.provider === "0000:1b:00.0" && pair.client === "0000:1c:00.0",
    );
    expect([change?.before.mapping, change?.after.mapping]).toEqual(["bus", "iova"]);
    const back = whatIf(on.topology, [{ kind: "iommu", mode: "off" }]);
    // What the kernel set, the firmware may have set too.
    expect(back.after.decide("1b:00.0", "1c:00.0")).toMatchObject({
      mapType: "unknown",
      possible: expect.arrayContaining(["bus-addr"]) as string[],
    });
    expect(back.groups?.after).toEqual([]);
    expect(back.assumptions.join()).toContain("firmware");
  });

  it("p2pdma R34: without an IOMMU there is none to turn off, and ACS is the firmware's already", () => {
    const redirecting = generateServer({ acs: "on", iommu: "off" });
    const result = whatIf(redirecting, [{ kind: "iommu", mode: "off" }], { cpu: "intel" });
    expect(result.pairs).toEqual([]);
    expect(result.topology.functions.map((fn) => fn.acs)).toEqual(
      redirecting.functions.map((fn) => fn.acs),
    );
    expect(result.assumptions.join()).toContain("no IOMMU to turn off");
  });

  it("p2pdma R33: EC is never the kernel's, and what is clear with an IOMMU stays clear without", () => {
    const topology = switchMachine({ left: 0x21, right: 0x11, root: 0x1d });
    const { functions } = applyEdits(topology, [{ kind: "iommu", mode: "off" }]).topology;
    const states = functions.map((fn) => [fn.address, fn.acs.state]);
    expect(states.filter(([, state]) => state === "unknown")).toEqual([
      ["0000:00:01.0", "unknown"],
    ]);
    // Said by hand, it is known again, and nothing more is taken for granted.
    const said = applyEdits(topology, [
      { kind: "iommu", mode: "off" },
      { kind: "acs", at: "00:01.0", control: "off" },
    ]);
    expect(said.topology.at("00:01.0").acs).toMatchObject({ state: "present", control: 0 });
    expect(said.assumptions.join()).not.toContain("has an ACS capability");
  });

  it("groups that rest on unknown ACS say so", () => {
    const topology = switchMachine({ left: "unknown", right: 0x1d });
    const sentence = /1 function is not known and counts as not isolating/;
    const unknown = whatIf(topology, [{ kind: "iommu", mode: "on" }]);
    expect(unknown.assumptions.join()).toMatch(sentence);
    const known = whatIf(switchMachine({ right: 0x1d }), [{ kind: "iommu", mode: "on" }]);
    expect(known.assumptions.join()).not.toMatch(sentence);
  });

  it("moving a NIC, VFs and all, below another switch", () => {
    const result = whatIf(server, [{ kind: "move", device: "1d:00.0", port: "8a:03.0" }], {
      cpu: "intel",
    });
    const vf = result.topology.at("1d:00.1");
    expect(result.topology.functions[vf.parent]?.address).toBe("0000:8a:03.0");
    expect(result.after.decide("8b:00.0", "1d:00.1").mapType).toBe("bus-addr");
    expect(result.after.decide("1b:00.0", "1d:00.1").mapType).toBe("not-supported");
    expect(vf.numaNode).toBe(1);
  });

  it("trusting host bridges is a risk and says so", () => {
    const result = whatIf(server, [{ kind: "trust-host-bridge" }], { cpu: "intel" });
    expect(result.risks).toHaveLength(1);
    expect(result.pairs.every((pair) => pair.after.mapType === "thru-host-bridge")).toBe(true);
    const cpu = whatIf(server, [{ kind: "cpu", cpu: "amd-zen" }], { cpu: "intel" });
    expect(cpu.pairs).toEqual(result.pairs);
    expect(cpu.risks).toEqual([]);
  });

  it("an edit of what is unknown says that it takes ACS for granted", () => {
    const topology = switchMachine({ left: "unknown" });
    const result = whatIf(topology, [{ kind: "acs", at: "02:00.0", control: "off" }], {
      cpu: "intel",
    });
    expect(result.after.decide("04:00.0", "05:00.0").mapType).toBe("bus-addr");
    expect(result.assumptions.join()).toContain("0000:02:00.0");
  });

  it.each([
    ["ACS where there is none", { kind: "acs", at: "1b:00.0", control: "off" }, "EINVAL"],
    ["bits that the capability lacks", { kind: "acs", at: "1a:00.0", control: 0x20 }, "EINVAL"],
    ["more than 16 bits", { kind: "acs", at: "1a:00.0", control: 0x1_0000 }, "EINVAL"],
    ["a function that is not there", { kind: "acs", at: "aa:00.0", control: 0 }, "ENODEV"],
    ["a move below an endpoint", { kind: "move", device: "1d:00.0", port: "1b:00.0" }, "EINVAL"],
    [
      "a move below an upstream port",
      { kind: "move", device: "1d:00.0", port: "51:00.0" },
      "EINVAL",
    ],
    ["a move of a VF", { kind: "move", device: "1d:00.1", port: "52:00.0" }, "EINVAL"],
    ["a move below itself", { kind: "move", device: "19:00.0", port: "1a:00.0" }, "EINVAL"],
    ["a move of a root port", { kind: "move", device: "18:01.0", port: "8a:03.0" }, "EINVAL"],
    ["a move of a switch's port", { kind: "move", device: "1a:00.0", port: "8a:03.0" }, "EINVAL"],
    ["a move of a host bridge", { kind: "move", device: "00:00.0", port: "8a:03.0" }, "EINVAL"],
    ["a root bus that is not there", { kind: "trust-host-bridge", roots: ["0000:77"] }, "EINVAL"],
  ] as const)("refuses %s", (_, edit, code) => {
    expect(() => applyEdits(server, [edit])).toThrow(
      expect.objectContaining({ code, hint: expect.any(String) as string }),
    );
  });
});
