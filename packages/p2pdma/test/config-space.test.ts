import { describe, expect, it } from "vitest";
import { decodeConfigSpace, P2pdma, parseTopology } from "../src/index.js";
import { Config } from "./config-bytes.js";

function endpoint(): Config {
  return new Config().header(0x15b3, 0x101d, 0x020000).express(0);
}

describe("config space", () => {
  it("reads IDs, class, memory decode, port type and link", () => {
    expect(decodeConfigSpace(endpoint().bytes)).toMatchObject({
      vendorId: 0x15b3,
      deviceId: 0x101d,
      classCode: 0x020000,
      headerType: 0,
      memoryEnabled: true,
      portType: "endpoint",
      acs: { state: "none" },
      link: { speed: 16, width: 16, maxSpeed: 32, maxWidth: 16 },
    });
  });

  it("reads 32-bit, 64-bit, prefetchable and I/O BARs as bus addresses", () => {
    const config = endpoint()
      .u32(0x10, 0xfe00_0000)
      .u32(0x14, 0x0000_000c)
      .u32(0x18, 0x0000_0120)
      .u32(0x1c, 0xe001);
    expect(decodeConfigSpace(config.bytes)?.bars).toEqual([
      { index: 0, kind: "memory", busStart: 0xfe000000n, is64Bit: false, prefetchable: false },
      { index: 1, kind: "memory", busStart: 0x12000000000n, is64Bit: true, prefetchable: true },
      undefined,
      { index: 3, kind: "io", busStart: 0xe000n, is64Bit: false, prefetchable: false },
    ]);
  });

  it("reads bus numbers and windows of a bridge", () => {
    const config = new Config()
      .header(0x8086, 0x352a, 0x060400, 1)
      .express(4)
      .u8(0x18, 0)
      .u8(0x19, 0x16)
      .u8(0x1a, 0x1f)
      .u16(0x20, 0x9000)
      .u16(0x22, 0x90f0)
      .u16(0x24, 0x0001)
      .u16(0x26, 0xfff1)
      .u32(0x28, 0x200)
      .u32(0x2c, 0x201)
      .u8(0x1c, 0xf0)
      .u8(0x1d, 0x00);
    expect(decodeConfigSpace(config.bytes)).toMatchObject({
      portType: "root-port",
      busNumbers: { primary: 0, secondary: 0x16, subordinate: 0x1f },
      windows: [
        { kind: "memory", first: 0x90000000n, last: 0x90ffffffn },
        { kind: "prefetchable", first: 0x20000000000n, last: 0x201ffffffffn },
      ],
    });
  });

  it("finds ACS behind other extended capabilities", () => {
    const config = endpoint().extended(0x100, 1, 0x148).acs(0x148, 0, 0x5f, 0x1d);
    expect(decodeConfigSpace(config.bytes)?.acs).toEqual({
      state: "present",
      capability: 0x5f,
      control: 0x1d,
    });
  });

  it("p2pdma R29: 64 bytes leave port type and ACS unknown where there is a capability list", () => {
    const config = decodeConfigSpace(endpoint().bytes.subarray(0, 64));
    expect([config?.portType, config?.acs.state]).toEqual([undefined, "unknown"]);
  });

  it("p2pdma R29: 64 bytes are enough where there is none", () => {
    const config = decodeConfigSpace(endpoint().u16(6, 0).bytes.subarray(0, 64));
    expect([config?.portType, config?.acs.state]).toEqual(["none", "none"]);
  });

  it("p2pdma R30: 256 bytes are all there is, or all that was read: the caller says which", () => {
    const bytes = endpoint().bytes.subarray(0, 256);
    expect(decodeConfigSpace(bytes)?.acs.state).toBe("unknown");
    expect(decodeConfigSpace(bytes, { only256: true })?.acs).toEqual({ state: "none" });
  });

  it("p2pdma R31: an all-ones first header means no extended space", () => {
    expect(decodeConfigSpace(endpoint().u32(0x100, 0xffff_ffff).bytes)?.acs.state).toBe("none");
  });

  it("p2pdma R31: loops end in both lists", () => {
    const extended = endpoint().extended(0x100, 1, 0x140).extended(0x140, 2, 0x100);
    expect(decodeConfigSpace(extended.bytes)?.acs.state).toBe("none");
    const standard = endpoint().u8(0x34, 0x50).u8(0x50, 1).u8(0x51, 0x50);
    expect(decodeConfigSpace(standard.bytes)?.portType).toBe("none");
  });

  it("an extended list that goes on past the bytes shown is unknown", () => {
    const config = endpoint().extended(0x100, 1, 0x300).acs(0x300, 0, 0x5f, 0x1d);
    expect(decodeConfigSpace(config.bytes.subarray(0, 0x200))?.acs.state).toBe("unknown");
    expect(decodeConfigSpace(config.bytes.subarray(0, 0x306))?.acs.state).toBe("unknown");
  });

  it("a device that is gone reads as undefined", () => {
    expect(decodeConfigSpace(new Uint8Array(4096).fill(0xff))).toBeUndefined();
    expect(decodeConfigSpace(new Uint8Array(3))).toBeUndefined();
  });

  it("SR-IOV counts only where VFs are enabled", () => {
    const sriov = (control: number): Config =>
      endpoint()
        .extended(0x100, 0x10, 0)
        .u16(0x108, control)
        .u16(0x110, 4)
        .u16(0x114, 2)
        .u16(0x116, 1);
    expect(decodeConfigSpace(sriov(1).bytes)?.sriov).toEqual({ offset: 2, stride: 1, count: 4 });
    expect(decodeConfigSpace(sriov(0).bytes)?.sriov?.count).toBe(0);
  });
});

describe("lspci hex", () => {
  const port = (control: number): Config =>
    new Config()
      .header(0x8086, 0x2030, 0x060400, 1)
      .express(4)
      .u8(0x19, 1)
      .u8(0x1a, 1)
      .acs(0x100, 0, 0x1f, control);
  const first = new Config().header(0x8086, 0x2020, 0x060000).express(4);

  it("p2pdma R30: in -xxxx output a function of 256 bytes has no ACS", () => {
    const text =
      first.dump("00:00.0", 256) +
      port(0x1d).dump("00:01.0") +
      endpoint().dump("01:00.0", 256) +
      endpoint().dump("01:00.1", 256);
    const topology = parseTopology(text);
    expect(topology.source.format).toBe("lspci-hex");
    expect(topology.at("01:00.0").acs).toEqual({ state: "none" });
    const decision = new P2pdma(topology, { cpu: "intel" }).decide("01:00.0", "01:00.1");
    expect(decision.mapType).toBe("thru-host-bridge");
    expect(decision.acsRedirect).toEqual(["0000:00:01.0"]);
  });

  it("in -xxx output 256 bytes leave ACS unknown", () => {
    const topology = parseTopology(first.dump("00:00.0", 256) + port(0x1d).dump("00:01.0", 256));
    expect(topology.at("00:01.0").acs.state).toBe("unknown");
    expect(topology.at("00:01.0").portType).toBe("root-port");
  });

  it("a dump that breaks off in its last function leaves that one unknown", () => {
    const text = port(0x1d).dump("00:01.0") + endpoint().dump("01:00.0", 256).trimEnd();
    expect(parseTopology(text).at("01:00.0").acs.state).toBe("unknown");
  });

  it("hex that is broken or jumps is taken up to there, with a warning and its line", () => {
    const text = port(0x1d)
      .dump("00:01.0")
      .replace(/^100: ../m, "100: zz");
    const topology = parseTopology(text);
    expect(topology.at("00:01.0").acs.state).toBe("unknown");
    expect(topology.source.warnings).toEqual([expect.stringMatching(/^line 18: /)]);
    const jump = parseTopology(
      port(0)
        .dump("00:01.0")
        .replace(/^20: .*\n/m, ""),
    );
    expect(jump.source.warnings[0]).toContain("0x30 does not follow 0x20");
  });

  it("p2pdma R3: the hex tells the bus address, the text the CPU address and size", () => {
    const device = endpoint().u32(0x10, 0x4000_000c).u32(0x14, 0);
    const text = device
      .dump("00:02.0", 64)
      .replace(
        "\n",
        "\n\tControl: I/O- Mem+\n\tRegion 0: Memory at 640000000 (64-bit, prefetchable) [size=1M]\n",
      );
    const p2pdma = new P2pdma(parseTopology(text));
    expect(p2pdma.topology.at(0).bars[0]).toMatchObject({
      start: 0x6_4000_0000n,
      busStart: 0x4000_0000n,
      length: 0x10_0000n,
    });
    expect(p2pdma.busOffset("00:02.0", 0)).toBe(BigInt.asUintN(64, 0x4000_0000n - 0x6_4000_0000n));
    expect(p2pdma.provider("00:02.0", 0)).toMatchObject({ owner: "0000:00:02.0", bar: 0 });
  });

  it("p2pdma R2, R4: I/O, absent and out-of-range BARs have no provider", () => {
    const device = endpoint().u32(0x10, 0xe001).u32(0x14, 0xfe00_0000);
    const p2pdma = new P2pdma(parseTopology(device.dump("00:02.0")));
    expect(p2pdma.provider("00:02.0", 0)).toBeUndefined();
    expect(p2pdma.provider("00:02.0", 1)).toEqual({ owner: "0000:00:02.0", bar: 1, busOffset: 0n });
    expect(p2pdma.provider("00:02.0", 2)).toBeUndefined();
    expect(p2pdma.provider("00:02.0", 6)).toBeUndefined();
    expect(p2pdma.busOffset("00:02.0", 0)).toBe(0n);
  });
});
