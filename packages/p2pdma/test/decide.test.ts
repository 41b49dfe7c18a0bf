import { describe, expect, it } from "vitest";
import { type CpuKind, P2pdma, type PciTopology } from "../src/index.js";
import { acsInfo, type Fn, host, machine, switchMachine } from "./machine.js";

function ask(topology: PciTopology, provider: string, client: string, cpu: CpuKind = "intel") {
  return new P2pdma(topology, { cpu }).decide(provider, client);
}

function answer(topology: PciTopology, provider: string, client: string, cpu: CpuKind = "intel") {
  const { mapType, distance } = ask(topology, provider, client, cpu);
  return [mapType, distance];
}

const RR = 0x04;
const CR = 0x08;
const EC = 0x20;

describe("test vectors of the specification (p2pdma, section 6)", () => {
  it("p2pdma R8: the same function without ACS is bus-addr at distance 0", () => {
    expect(answer(switchMachine({}), "04:00.0", "04:00.0")).toEqual(["bus-addr", 0]);
  });

  it("p2pdma R8: the same function with its own RR, host not listed, is not supported at distance 0", () => {
    expect(answer(switchMachine({ endpoint: RR }), "04:00.0", "04:00.0")).toEqual([
      "not-supported",
      0,
    ]);
  });

  it("p2pdma R9: two functions under one bridge are bus-addr at distance 2", () => {
    const topology = machine([
      host("00:00.0", "8086:1234"),
      { at: "00:01.0", type: "root-port", buses: "01-01" },
      { at: "01:00.0" },
      { at: "01:00.1" },
    ]);
    expect(answer(topology, "01:00.0", "01:00.1")).toEqual(["bus-addr", 2]);
  });

  it("p2pdma R9: two downstream ports of one switch without ACS are bus-addr at distance 4", () => {
    expect(answer(switchMachine({}), "04:00.0", "05:00.0")).toEqual(["bus-addr", 4]);
  });

  it("p2pdma R7, R16: RR on one downstream port sends it through a listed host", () => {
    const topology = switchMachine({ hostId: "8086:2020", right: RR });
    const decision = ask(topology, "04:00.0", "05:00.0");
    expect([decision.mapType, decision.distance]).toEqual(["thru-host-bridge", 4]);
    expect(decision.acsRedirect).toEqual(["0000:02:01.0"]);
    expect(decision.commonAncestor).toBe("0000:01:00.0");
    expect(decision.rule).toBe("p2pdma R16");
    expect(decision.reason).toContain("0000:02:01.0 (RR)");
  });

  it("section 1: SV, TB, UF and DT do not redirect", () => {
    const topology = switchMachine({ left: 0x01 | 0x02 | 0x10 | 0x40, right: 0x53 });
    expect(answer(topology, "04:00.0", "05:00.0")).toEqual(["bus-addr", 4]);
  });

  it.each([RR, CR, EC])("section 1: bit 0x%x alone redirects", (bit) => {
    const unlisted = switchMachine({ left: bit });
    expect(answer(unlisted, "04:00.0", "05:00.0")).toEqual(["not-supported", 4]);
    const listed = switchMachine({ left: bit, hostId: "8086:09a2" });
    expect(answer(listed, "04:00.0", "05:00.0")).toEqual(["thru-host-bridge", 4]);
  });

  it("p2pdma R12, R16: two root ports of one 8086:3c00 host go through it", () => {
    const topology = machine(twoPorts("8086:3c00"));
    expect(answer(topology, "01:00.0", "02:00.0")).toEqual(["thru-host-bridge", 4]);
  });

  it("p2pdma R16: two hosts that are both 8086:3c00 are not supported: same host bridge required", () => {
    const decision = ask(twoHosts("8086:3c00", "8086:3c00"), "01:00.0", "81:00.0");
    expect([decision.mapType, decision.distance]).toEqual(["not-supported", 4]);
    expect(decision.reason).toContain("only for devices below one host bridge");
  });

  it("p2pdma R16: two hosts that are both 8086:2030 go through", () => {
    const topology = twoHosts("8086:2030", "8086:2030");
    expect(answer(topology, "01:00.0", "81:00.0")).toEqual(["thru-host-bridge", 4]);
  });

  it("p2pdma R16: one listed and one unlisted host are not supported", () => {
    const decision = ask(twoHosts("8086:2030", "8086:1234"), "01:00.0", "81:00.0");
    expect(decision.mapType).toBe("not-supported");
    expect(decision.reason).toContain("0000:80:00.0 (8086:1234) is not on the list");
  });

  it("p2pdma R17: AMD family 0x17 passes two unlisted hosts", () => {
    const decision = ask(twoHosts("1022:1450", "1022:1450"), "01:00.0", "81:00.0", "amd-zen");
    expect([decision.mapType, decision.rule]).toEqual(["thru-host-bridge", "p2pdma R17"]);
  });

  it.each(["hygon", "amd-old", "arm", "power", "other", "intel"] as const)(
    "p2pdma R17: %s follows the list",
    (cpu) => {
      expect(answer(twoHosts("1d94:1450", "1d94:1450"), "01:00.0", "81:00.0", cpu)[0]).toBe(
        "not-supported",
      );
      expect(answer(twoHosts("8086:09a2", "8086:09a2"), "01:00.0", "81:00.0", cpu)[0]).toBe(
        "thru-host-bridge",
      );
    },
  );

  it("a root bus that begins with 02.0, no root port, has no key: not supported", () => {
    const functions: Fn[] = [
      { at: "00:02.0", id: "8086:2030", type: "rc-integrated-endpoint" },
      { at: "00:03.0", type: "rc-integrated-endpoint" },
    ];
    const decision = ask(machine(functions), "00:02.0", "00:03.0");
    expect([decision.mapType, decision.distance]).toEqual(["not-supported", 2]);
    expect(decision.rule).toBe("p2pdma R10");
    expect(decision.reason).toContain("neither 00.0 nor a root port");
  });

  it("a root port with a listed ID is a key at any device number", () => {
    const functions: Fn[] = [
      { at: "80:02.0", id: "8086:2030", type: "root-port", buses: "81-81" },
      { at: "80:03.0", id: "8086:2031", type: "root-port", buses: "82-82" },
      { at: "81:00.0" },
      { at: "82:00.0" },
    ];
    expect(answer(machine(functions), "81:00.0", "82:00.0")).toEqual(["thru-host-bridge", 4]);
  });

  it("a VF is the first element of its chain and its PF's bridges come above it", () => {
    const topology = machine([
      host("00:00.0", "8086:1234"),
      { at: "00:01.0", type: "root-port", buses: "01-03" },
      { at: "01:00.0" },
      { at: "01:00.1" },
      // The VF's routing ID falls on a bus that no bridge owns.
      { at: "02:10.0", physfn: "01:00.0" },
    ]);
    const decision = ask(topology, "01:00.1", "02:10.0");
    expect([decision.mapType, decision.distance]).toEqual(["bus-addr", 2]);
    expect(decision.downPath.map((step) => step.address)).toEqual(["0000:02:10.0"]);
    expect(ask(topology, "02:10.0", "01:00.0").distance).toBe(2);
  });

  it("p2pdma R10: two functions of one slot on a root bus have no bridge in common", () => {
    const topology = machine([
      host("00:00.0", "8086:1234"),
      { at: "00:05.0", type: "rc-integrated-endpoint" },
      { at: "00:05.1", type: "rc-integrated-endpoint" },
    ]);
    expect(answer(topology, "00:05.0", "00:05.1")).toEqual(["not-supported", 2]);
  });

  it("p2pdma R11: two devices under one root port meet there, unless the port itself redirects", () => {
    const functions = (acs: number): Fn[] => [
      host("00:00.0", "8086:1234"),
      { at: "00:01.0", type: "root-port", buses: "01-01", acs },
      { at: "01:00.0" },
      { at: "01:00.1" },
    ];
    const plain = ask(machine(functions(0)), "01:00.0", "01:00.1");
    expect([plain.mapType, plain.rule]).toEqual(["bus-addr", "p2pdma R11"]);
    const redirecting = ask(machine(functions(0x1d)), "01:00.0", "01:00.1");
    expect([redirecting.mapType, redirecting.rule]).toEqual(["not-supported", "p2pdma R7"]);
    expect(redirecting.acsRedirect).toEqual(["0000:00:01.0"]);
  });

  it("ACS is listed in kernel order: provider up to the common ancestor, then client up", () => {
    const topology = switchMachine({ left: RR, right: CR, upstream: EC, root: RR, endpoint: RR });
    expect(ask(topology, "04:00.0", "05:00.0").acsRedirect).toEqual([
      "0000:04:00.0",
      "0000:02:00.0",
      "0000:01:00.0",
      "0000:02:01.0",
    ]);
    expect(ask(topology, "05:00.0", "04:00.0").acsRedirect).toEqual([
      "0000:02:01.0",
      "0000:01:00.0",
      "0000:04:00.0",
      "0000:02:00.0",
    ]);
  });

  it("a bridge is the common ancestor of itself and what is below it", () => {
    const decision = ask(switchMachine({}), "02:00.0", "04:00.0");
    expect([decision.mapType, decision.distance, decision.commonAncestor]).toEqual([
      "bus-addr",
      1,
      "0000:02:00.0",
    ]);
  });
});

describe("what is unknown (p2pdma R29)", () => {
  it("unknown ACS makes a pair unknown, with both answers", () => {
    const decision = ask(switchMachine({ left: "unknown" }), "04:00.0", "05:00.0");
    expect(decision.mapType).toBe("unknown");
    expect(decision.possible).toEqual(["bus-addr", "not-supported"]);
    expect(decision.acsUnknown).toEqual(["0000:02:00.0"]);
    expect(decision.mapTypeAsShown).toBe("bus-addr");
  });

  it("unknown ACS does not matter where another port redirects", () => {
    const decision = ask(switchMachine({ left: "unknown", right: RR }), "04:00.0", "05:00.0");
    expect([decision.mapType, decision.possible]).toEqual(["not-supported", undefined]);
    expect(decision.acsUnknown).toEqual(["0000:02:00.0"]);
  });

  it("unknown ACS does not matter without a common ancestor", () => {
    const functions = twoPorts("8086:1234").map((fn) => ({ ...fn, acs: "unknown" as const }));
    const decision = ask(machine(functions), "01:00.0", "02:00.0");
    expect([decision.mapType, decision.acsUnknown]).toEqual(["not-supported", undefined]);
  });

  it("an unknown CPU matters only where the list says no", () => {
    const no = ask(twoHosts("8086:1234", "8086:1234"), "01:00.0", "81:00.0", "unknown");
    expect([no.mapType, no.possible, no.cpuUnknown]).toEqual([
      "unknown",
      ["thru-host-bridge", "not-supported"],
      true,
    ]);
    const yes = ask(twoHosts("8086:2030", "8086:2030"), "01:00.0", "81:00.0", "unknown");
    expect([yes.mapType, yes.cpuUnknown]).toEqual(["thru-host-bridge", undefined]);
  });

  it("a root bus that is not in the input leaves the host bridge open, never bus-addr", () => {
    const topology = machine(
      [
        { at: "03:00.0", type: "switch-upstream", buses: "04-06" },
        { at: "04:00.0", buses: "05-05", acs: RR },
        { at: "04:01.0", buses: "06-06" },
        { at: "05:00.0" },
        { at: "06:00.0" },
      ],
      false,
    );
    const decision = ask(topology, "05:00.0", "06:00.0");
    expect(decision.possible).toEqual(["thru-host-bridge", "not-supported"]);
    expect(decision.hostBridgeUnknown).toBe(true);
    expect(ask(topology, "05:00.0", "06:00.0", "amd-zen").mapType).toBe("thru-host-bridge");
  });

  it("two functions on buses whose bridges are missing may share one: all answers are open", () => {
    const topology = machine([{ at: "65:00.0" }, { at: "b1:00.0" }], false);
    const decision = ask(topology, "65:00.0", "b1:00.0");
    expect(decision.possible).toEqual(["bus-addr", "thru-host-bridge", "not-supported"]);
    expect(decision.reason).toContain("the bridges above both are not in the input");
    expect(ask(topology, "65:00.0", "65:00.0").mapType).toBe("bus-addr");
  });

  it("a bridge missing in the middle counts as unknown ACS", () => {
    const topology = machine([
      host("00:00.0", "8086:1234"),
      { at: "00:01.0", type: "root-port", buses: "01-05" },
      { at: "04:00.0" },
      { at: "05:00.0" },
    ]);
    expect(topology.get("04:00.0")?.hiddenUpstream).toBe(true);
    const decision = ask(topology, "04:00.0", "05:00.0");
    expect(decision.possible).toEqual(["bus-addr", "not-supported"]);
    expect(decision.bridgeHidden).toBe(true);
    // The kernel counts the bridge that is missing (p2pdma R13).
    expect(decision).toMatchObject({ distance: 2, distanceAtLeast: true });
  });

  it("p2pdma R13: a distance is exact where every bridge on the way is shown, and a least one where not", () => {
    const functions = [
      host("00:00.0", "8086:1234"),
      { at: "00:01.0", type: "root-port", buses: "01-05" },
      { at: "00:02.0", type: "root-port", buses: "06-06" },
      { at: "04:00.0" },
      { at: "06:00.0" },
      { at: "06:00.1" },
      { at: "65:00.0" },
    ] as const;
    // Roots are judged by what is on them: 65 is none.
    const topology = machine(functions, false);
    const least = (provider: string, client: string): unknown =>
      ask(topology, provider, client).distanceAtLeast;
    expect(least("06:00.0", "06:00.1")).toBeUndefined();
    expect(least("06:00.0", "00:00.0")).toBeUndefined();
    expect(least("04:00.0", "04:00.0")).toBeUndefined();
    expect(least("04:00.0", "06:00.0")).toBe(true);
    expect(least("06:00.0", "65:00.0")).toBe(true);
  });
});

describe("entry points and cache", () => {
  it("p2pdma R18: a client that is no PCI function is not supported", () => {
    expect(new P2pdma(switchMachine({})).mapType("04:00.0", undefined)).toBe("not-supported");
  });

  it("p2pdma R18, R6, R1: a released provider is not supported until it is set up again, twice is harmless", () => {
    const p2pdma = new P2pdma(switchMachine({}), { cpu: "intel" });
    p2pdma.release("04:00.0");
    expect(p2pdma.mapType("04:00.0", "05:00.0")).toBe("not-supported");
    expect(p2pdma.provider("04:00.0", 0)).toBeUndefined();
    p2pdma.init("04:00.0");
    p2pdma.init("04:00.0");
    expect(p2pdma.mapType("04:00.0", "05:00.0")).toBe("bus-addr");
  });

  it("p2pdma R20, R21, R22: in linux mode an answer, a refusal too, stays stale until a distance query", () => {
    const p2pdma = new P2pdma(switchMachine({ left: RR }), { cpu: "intel", mode: "linux" });
    expect(p2pdma.mapType("04:00.0", "05:00.0")).toBe("not-supported");
    p2pdma.setAcs("02:00.0", acsInfo(0));
    expect(p2pdma.mapType("04:00.0", "05:00.0")).toBe("not-supported");
    expect(p2pdma.decide("04:00.0", "05:00.0").mapType).toBe("bus-addr");
    expect(p2pdma.distance("04:00.0", ["05:00.0"])).toBe(4);
    expect(p2pdma.mapType("04:00.0", "05:00.0")).toBe("bus-addr");
  });

  it("p2pdma R6: release drops the cache", () => {
    const p2pdma = new P2pdma(switchMachine({ left: RR }), { cpu: "intel", mode: "linux" });
    expect(p2pdma.mapType("04:00.0", "05:00.0")).toBe("not-supported");
    p2pdma.setAcs("02:00.0", acsInfo(0));
    p2pdma.release("04:00.0");
    p2pdma.init("04:00.0");
    expect(p2pdma.mapType("04:00.0", "05:00.0")).toBe("bus-addr");
  });

  it("in ideal mode there are no stale answers", () => {
    const p2pdma = new P2pdma(switchMachine({ left: RR }), { cpu: "intel" });
    expect(p2pdma.mapType("04:00.0", "05:00.0")).toBe("not-supported");
    p2pdma.setAcs("02:00.0", acsInfo(0));
    expect(p2pdma.mapType("04:00.0", "05:00.0")).toBe("bus-addr");
  });

  it("p2pdma R19: distance sums over clients, -1 for none, for a refused one and for no PCI function", () => {
    const p2pdma = new P2pdma(switchMachine({}), { cpu: "intel" });
    expect(p2pdma.distance("04:00.0", [])).toBe(-1);
    expect(p2pdma.distance("04:00.0", ["05:00.0", "04:00.0"])).toBe(4);
    expect(p2pdma.distance("04:00.0", ["05:00.0", undefined])).toBe(-1);
    expect(p2pdma.distance("04:00.0", ["05:00.0", "00:00.0"])).toBe(-1);
  });

  it("an address that is not there is ENODEV", () => {
    const p2pdma = new P2pdma(switchMachine({}));
    expect(() => p2pdma.decide("04:00.0", "07:00.0")).toThrow(
      expect.objectContaining({ code: "ENODEV", hint: expect.any(String) as string }),
    );
  });
});

function twoPorts(id: string): Fn[] {
  return [
    host("00:00.0", id),
    { at: "00:01.0", type: "root-port", buses: "01-01" },
    { at: "00:02.0", type: "root-port", buses: "02-02" },
    { at: "01:00.0" },
    { at: "02:00.0" },
  ];
}

function twoHosts(a: string, b: string): PciTopology {
  return machine([
    host("00:00.0", a),
    { at: "00:01.0", type: "root-port", buses: "01-01" },
    { at: "01:00.0" },
    host("80:00.0", b),
    { at: "80:01.0", type: "root-port", buses: "81-81" },
    { at: "81:00.0" },
  ]);
}
