import { describe, expect, it } from "vitest";
import { P2pdma, ParseError, type PciTopology, parseTopology } from "../src/index.js";
import { verbose } from "./listing.js";

function summary(topology: PciTopology): unknown {
  return topology.functions.map((fn) => [
    fn.address,
    topology.functions[fn.parent]?.address,
    fn.portType,
    fn.acs,
    topology.functions[fn.physfn]?.address,
  ]);
}

describe("lspci text", () => {
  const topology = parseTopology(verbose, { name: "switch.txt" });

  it("links the tree by secondary bus numbers and VFs by the SR-IOV capability", () => {
    expect(topology.functions.map((fn) => topology.functions[fn.parent]?.address)).toEqual([
      undefined,
      undefined,
      "0000:00:01.0",
      "0000:01:00.0",
      "0000:01:00.0",
      "0000:02:08.0",
      "0000:02:09.0",
      "0000:02:09.0",
      "0000:02:09.0",
    ]);
    expect(topology.get("04:00.3")?.physfn).toBe(topology.indexOf("04:00.0"));
    expect(topology.get("04:00.0")?.physfn).toBe(-1);
    expect(topology.hostBridges).toEqual([{ domain: 0, bus: 0, first: 0, complete: true }]);
  });

  it("reads IDs from names, classes, ports, links, NUMA node, group and driver", () => {
    const root = topology.at("00:00.0");
    expect([root.vendorId, root.deviceId, root.classCode]).toEqual([0x8086, 0x2020, 0x060000]);
    expect([root.numaNode, root.iommuGroup, root.portType]).toEqual([1, 3, "root-port"]);
    expect(root.link).toEqual({ speed: undefined, width: undefined, maxSpeed: 8, maxWidth: 4 });
    expect(topology.at("00:01.0").deviceId).toBe(0x2030);
    expect(topology.at("00:01.0").driver).toBe("pcieport");
    expect(topology.at("00:01.0").link?.width).toBe(16);
    expect(topology.at("04:00.0").name).toBe(
      "Mellanox Technologies MT28800 Family [ConnectX-5 Ex]",
    );
  });

  it("reads BARs with sizes and bridge windows; those of VFs in a capability are not the PF's", () => {
    expect(topology.at("03:00.0").bars).toEqual([
      bar(0, 0x90000000n, 1n << 24n, { is64Bit: false, prefetchable: false }),
      bar(1, 0x20000000000n, 1n << 34n),
      undefined,
      undefined,
      undefined,
      { ...bar(5, 0xe000n, 128n, { is64Bit: false, prefetchable: false }), kind: "io" },
    ]);
    expect(topology.at("04:00.0").bars).toEqual([bar(0, 0x20400000000n, 1n << 25n), undefined]);
    expect(topology.at("00:01.0").windows).toEqual([
      { kind: "memory", first: 0x90000000n, last: 0x900fffffn },
      { kind: "prefetchable", first: 0x20000000000n, last: 0x201ffffffffn },
    ]);
  });

  it("reads ACS bits, and none where the listing shows extended capabilities but no ACS", () => {
    expect(topology.at("00:01.0").acs).toEqual({
      state: "present",
      control: 0x1d,
      capability: 0x1f,
    });
    expect(topology.at("02:08.0").acs).toEqual({ state: "present", control: 0, capability: 0x7f });
    expect(topology.at("01:00.0").acs).toEqual({ state: "none" });
    expect(topology.at("04:00.2").acs).toEqual({ state: "none" });
  });

  it("gives the pair's answer", () => {
    const p2pdma = new P2pdma(topology, { cpu: "intel" });
    expect(p2pdma.decide("03:00.0", "04:00.2").mapType).toBe("bus-addr");
  });

  it.each([
    ["quoted in a mail", (text: string) => text.replaceAll(/^/gm, "> ")],
    ["quoted twice", (text: string) => text.replaceAll(/^/gm, "> > ")],
    ["indented", (text: string) => text.replaceAll(/^/gm, "      ")],
    ["with CRLF", (text: string) => text.replaceAll("\n", "\r\n")],
    ["with carriage returns alone", (text: string) => text.replaceAll("\n", "\r")],
    ["with spaces for tabs", (text: string) => text.replaceAll("\t", "        ")],
    ["with a byte order mark", (text: string) => `\u{feff}${text}`],
    ["with -D", (text: string) => text.replaceAll(/^([0-9a-f]{2}:[0-9a-f]{2}\.)/gm, "0000:$1")],
    [
      "after a shell prompt and other words",
      (text: string) => `root@host:~# lspci -vvv\n${text}done\n`,
    ],
    ["with ACS lines wrapped", (text: string) => text.replaceAll(" CmpltRedir", "\nCmpltRedir")],
    ["twice", (text: string) => text + text],
    ["with a blank line after each", (text: string) => text.replaceAll("\n", "\n\n")],
    [
      "after a plain listing",
      (text: string) =>
        `${text
          .split("\n")
          .filter((line) => /^\d/.test(line))
          .join("\n")}\n\n${text}`,
    ],
    [
      "with paths (-PP)",
      (text: string) => text.replace(/^03:00\.0/m, "00:01.0/01:00.0/02:08.0/03:00.0"),
    ],
  ])("reads the same %s", (_, change) => {
    expect(summary(parseTopology(change(verbose)))).toEqual(summary(topology));
  });

  it.each([
    ["00:00.0 0600: 8086:2020 (rev 04)", 0x060000, 0x2020],
    ["00:00.0 Class 0600: 8086:2020", 0x060000, 0x2020],
    [
      "00:00.0 Host bridge [0600]: Intel Corporation Sky Lake-E DMI3 [8086:2020] (rev 04)",
      0x060000,
      0x2020,
    ],
    ["00:00.0 Host bridge: Intel Corporation: Unknown device 2020", 0x060000, 0x2020],
    ["00:00.0 Host bridge: Device 8086:2020", 0x060000, 0x2020],
    ["00:00.0 Generic system peripheral [0807]: Intel Corporation Device 0b23", 0x080700, 0x0b23],
    ["00:00.0 Serial bus controller [0c80]: Intel Corporation Device 0001", 0x0c8000, 0x0001],
    [
      "00:00.0 USB controller: Intel Corporation Device 0002 (rev 01) (prog-if 30 [XHCI])",
      0x0c0330,
      0x0002,
    ],
    ["00:00.0 Bridge: Intel Corporation Thing to bus[E:B]", 0x068000, undefined],
  ])("reads the header %s", (line, classCode, deviceId) => {
    const fn = parseTopology(`${line}\n`).at("00:00.0");
    expect([fn.vendorId, fn.classCode, fn.deviceId]).toEqual([0x8086, classCode, deviceId]);
  });

  it("plain lspci leaves everything but the header unknown, and says so", () => {
    const plain = verbose
      .split("\n")
      .filter((line) => /^\d/.test(line))
      .join("\n");
    const parsed = parseTopology(plain);
    expect(parsed.functions.every((fn) => fn.acs.state === "unknown")).toBe(true);
    expect(parsed.source.missing.join()).toContain("lspci -vvv as root");
    const decision = new P2pdma(parsed, { cpu: "intel" }).decide("03:00.0", "04:00.0");
    expect(decision.possible).toEqual(["bus-addr", "thru-host-bridge", "not-supported"]);
  });

  it("p2pdma R29: access denied leaves port and ACS unknown", () => {
    const text = verbose.replaceAll(
      /^\tCapabilities: \[.*\n(?:\t\t.*\n)*/gm,
      "\tCapabilities: <access denied>\n",
    );
    const parsed = parseTopology(text);
    expect(parsed.at("02:08.0").portType).toBeUndefined();
    const decision = new P2pdma(parsed, { cpu: "intel" }).decide("03:00.0", "04:00.0");
    expect(decision.mapType).toBe("unknown");
    expect(decision.acsUnknown).toEqual([
      "0000:03:00.0",
      "0000:02:08.0",
      "0000:01:00.0",
      "0000:04:00.0",
      "0000:02:09.0",
    ]);
    expect(parsed.source.missing).toEqual([
      "capabilities of 9 functions (access denied): run lspci as root",
      expect.stringMatching(/^the IDs of 3 functions.*lspci -nn$/),
    ]);
  });

  it("-v names ACS without its control register: unknown", () => {
    const parsed = parseTopology(verbose.replaceAll(/^\t\t.*\n/gm, ""));
    expect(parsed.at("02:08.0").acs.state).toBe("unknown");
    expect(parsed.at("01:00.0").acs.state).toBe("none");
    expect(parsed.source.missing.join()).toContain("lspci -vv");
  });

  it("a control register cut off in the middle is unknown, not zero", () => {
    const at = verbose.lastIndexOf(" EgressCtrl-");
    const parsed = parseTopology(verbose.slice(0, at));
    expect(parsed.at("02:09.0").acs.state).toBe("unknown");
  });

  it("a function cut off before its capabilities has unknown ACS", () => {
    const at = verbose.indexOf("\tCapabilities: [60]");
    const parsed = parseTopology(verbose.slice(0, at));
    expect(parsed.at("04:00.0").acs.state).toBe("unknown");
    expect(parsed.at("03:00.0").acs.state).toBe("none");
  });

  it("no extended capability anywhere: not readable, so unknown", () => {
    const parsed = parseTopology(
      verbose.replaceAll(/^\tCapabilities: \[[0-9a-f]{3} .*\n(?:\t\t.*\n)*/gm, ""),
    );
    expect(parsed.at("03:00.0").acs.state).toBe("unknown");
    expect(parsed.at("01:00.0").acs.state).toBe("unknown");
  });

  it("a listing that begins in the middle does not take its first function for the host bridge", () => {
    const parsed = parseTopology(verbose.slice(verbose.indexOf("\tControl")));
    expect(parsed.hostBridges.every((host) => !host.complete)).toBe(true);
  });

  it("a bridge taken out of the listing is noticed", () => {
    const parsed = parseTopology(verbose.replace(/^02:09\.0[\s\S]*?\n\n/m, ""));
    expect(parsed.at("04:00.0").hiddenUpstream).toBe(true);
    const decision = new P2pdma(parsed, { cpu: "intel" }).decide("03:00.0", "04:00.0");
    expect(decision.mapType).toBe("unknown");
  });

  it("one pasted function says nothing of its host bridge", () => {
    const parsed = parseTopology(
      verbose.slice(verbose.indexOf("03:00.0 3D"), verbose.indexOf("04:00.0 Eth")),
    );
    expect(parsed.hostBridges).toEqual([{ domain: 0, bus: 3, first: 0, complete: false }]);
  });

  it("cards without their ports are not taken for root buses of their own", () => {
    const parsed = parseTopology(
      "00:00.0 Host bridge: Intel Corporation Device 6f00\n03:00.0 3D controller: NVIDIA Corporation Device 2330\n04:00.0 Ethernet controller: Mellanox Technologies Device 101d\n",
    );
    expect(parsed.hostBridges.map((host) => host.complete)).toEqual([true, false, false]);
    const decision = new P2pdma(parsed, { cpu: "intel" }).decide("03:00.0", "04:00.0");
    expect(decision.possible).toContain("bus-addr");
  });

  it("unreadable functions stay in the tree with unknown ACS", () => {
    const parsed = parseTopology(
      `${verbose}05:00.0 SD Host controller: Genesys Logic, Inc Device 9755 (rev ff)\n\t!!! Unknown header type 7f\n\n`,
    );
    const fn = parsed.at("05:00.0");
    expect([fn.headerType, fn.acs.state]).toEqual([undefined, "unknown"]);
    expect(parsed.endpoints()).toContain(fn);
  });

  it("a region line of -v has a counted index", () => {
    const parsed = parseTopology(
      "00:02.0 3D controller: NVIDIA Corporation Device 0001\n\tFlags: bus master, fast devsel, IRQ 25, NUMA node 1, IOMMU group 22\n\tMemory at a0000000 (32-bit, non-prefetchable) [size=16M]\n\tMemory at b0000000 (64-bit, prefetchable) [size=256M]\n\tI/O ports at e000 [size=128]\n\n",
    );
    expect(parsed.at(0).bars.map((b) => [b?.index, b?.indexInferred])).toEqual([
      [0, true],
      [1, true],
      [undefined, undefined],
      [3, true],
    ]);
    expect(parsed.at(0)).toMatchObject({ memoryEnabled: true, numaNode: 1, iommuGroup: 22 });
  });
});

describe("blocks that cannot be read", () => {
  it.each([
    ["a letter for a digit", "02:09.0", "02:0g.0"],
    ["a comma for the dot", "02:09.0", "02:09,0"],
    ["a capital", "02:09.0", "02:0A.0"],
  ])("%s: the block is left out, and tells nothing of the function before it", (_, good, bad) => {
    // The lost port redirects; the port before it does not.
    const text = verbose.replace(good, bad);
    const at = text.indexOf(bad);
    const parsed = parseTopology(
      text.slice(0, at) +
        text.slice(at).replace(/ACSCtl:.*/, "ACSCtl:\tSrcValid+ ReqRedir+ CmpltRedir+ EgressCtrl+"),
    );
    expect(parsed.functions).toHaveLength(8);
    expect(parsed.at("02:08.0").acs).toMatchObject({ state: "present", control: 0 });
    expect(parsed.source.warnings).toEqual([expect.stringContaining(bad)]);
    // What was lost may redirect.
    const decision = new P2pdma(parsed, { cpu: "intel" }).decide("03:00.0", "04:00.0");
    expect(decision).toMatchObject({ mapType: "unknown", bridgeHidden: true });
  });

  it("a header without any address, in a listing that indents its details, ends the block before it", () => {
    const text = verbose.replace("02:09.0 PCI bridge", "?????? PCI bridge");
    const parsed = parseTopology(text.replace(/ReqRedir-(?![\s\S]*ReqRedir-)/, "ReqRedir+"));
    expect(parsed.at("02:08.0").acs).toMatchObject({ state: "present", control: 0 });
    expect(parsed.at("04:00.0").hiddenUpstream).toBe(true);
    expect(parsed.source.warnings).toEqual([expect.stringContaining("?????? PCI bridge")]);
  });

  it("a lost block may have been the first of its root bus", () => {
    const text = verbose.replace("00:00.0 Host", "0o:00.0 Host");
    expect(parseTopology(text).hostBridges).toEqual([
      { domain: 0, bus: 0, first: 0, complete: false },
    ]);
  });

  it("text between blocks loses nothing", () => {
    const parsed = parseTopology(verbose.replaceAll("\n\n", "\n\nroot@host:~# and so on\n\n"));
    expect(parsed.functions).toEqual(parseTopology(verbose).functions);
    expect(parsed.source.warnings).toEqual([]);
  });
});

describe("functions that are listed twice", () => {
  const block = /^02:09\.0[\s\S]*?\n\n/m.exec(verbose)?.[0] ?? "";
  const redirecting = block.replace("ReqRedir- CmpltRedir- Up", "ReqRedir+ CmpltRedir+ Up");
  const changed = verbose.replace(block, redirecting);

  it("the same twice, or with more details the second time, is one machine", () => {
    const once = parseTopology(verbose).functions;
    const plain = verbose.replaceAll(/^\t.*\n/gm, "");
    const brief = verbose.replaceAll(/^\t\t.*\n/gm, "");
    for (const before of [verbose, plain, brief]) {
      const { functions, source } = parseTopology(before + verbose);
      expect(functions).toEqual(once);
      expect(source.warnings).toEqual([]);
    }
  });

  it.each([
    ["off, then on", verbose, changed],
    ["on, then off", changed, verbose],
  ])("different ACS, %s: unknown, with a warning", (_, first, second) => {
    const parsed = parseTopology(first + second);
    expect(parsed.at("02:09.0").acs.state).toBe("unknown");
    expect(parsed.at("02:08.0").acs.state).toBe("present");
    expect(parsed.source.warnings).toEqual([
      expect.stringMatching(/^0000:02:09\.0: listed again \(line \d+\).*ACS/),
    ]);
    const decision = new P2pdma(parsed, { cpu: "intel" }).decide("03:00.0", "04:00.0");
    expect(decision.acsUnknown).toEqual(["0000:02:09.0"]);
  });

  it("a block with ACS and one without contradict each other too, and so do bus numbers", () => {
    const without = verbose.replace(
      /\tCapabilities: \[110 v1\] Access.*\n(?:\t\t.*\n)*/,
      "\tCapabilities: [110 v1] Other\n",
    );
    expect(parseTopology(without + verbose).at("00:01.0").acs.state).toBe("unknown");
    const moved = verbose
      .replace("secondary=04", "secondary=14")
      .replace(
        "nate=04, sec-latency=0\n\tCapabilities: [68] Express (v2) Down",
        "nate=14, sec-latency=0\n\tCapabilities: [68] Express (v2) Down",
      );
    const parsed = parseTopology(verbose + moved);
    expect(parsed.at("02:09.0").busNumbers).toBeUndefined();
  });

  it("another device at the same address: the listings of two machines are refused, with the line", () => {
    const other = verbose.replace(
      "NVIDIA Corporation Device 15f8",
      "NVIDIA Corporation Device 2330",
    );
    expect(thrown(() => parseTopology(verbose + other, { name: "x.txt" }))).toMatchObject({
      code: "EINVAL",
      line:
        verbose.split("\n").length -
        1 +
        verbose.slice(0, verbose.indexOf("03:00.0 3D")).split("\n").length,
      hint: expect.stringContaining("two machines") as string,
    });
  });
});

describe("root buses without 00.0", () => {
  const first = "00:00.0 Host bridge: Intel Corporation Sky Lake-E DMI3 Registers";
  const rootPort = (at: string, secondary: string): string =>
    `${at} PCI bridge [0604]: Intel Corporation Device [8086:2032]\n\tBus: primary=00, secondary=${secondary}, subordinate=${secondary}, sec-latency=0\n\tCapabilities: [50] Express (v2) Root Port (Slot-), MSI 00\n\tCapabilities: [100 v1] Device\n\n`;
  const drive = (at: string): string =>
    `${at} Non-Volatile memory controller [0108]: Intel Corporation Device [8086:0a54]\n\tCapabilities: [50] Express (v2) Endpoint, MSI 00\n\n`;
  const volume = (domain: string): string =>
    rootPort(`${domain}00:02.0`, "01") +
    rootPort(`${domain}00:03.0`, "02") +
    drive(`${domain}01:00.0`) +
    drive(`${domain}02:00.0`);

  it("p2pdma R16: another domain may begin with a root port, which is its key (Intel VMD)", () => {
    const parsed = parseTopology(`0000:${first}\n\n${volume("10000:")}`);
    const decision = new P2pdma(parsed, { cpu: "intel" }).decide("10000:01:00.0", "10000:02:00.0");
    expect(decision).toMatchObject({ mapType: "thru-host-bridge", distance: 4 });
    expect(decision.hostBridges[0].key).toBe("10000:00:02.0");
  });

  it("in domain 0 a cut head looks the same: host bridge unknown, but never switch-local", () => {
    const decision = new P2pdma(parseTopology(volume("")), { cpu: "intel" }).decide(
      "01:00.0",
      "02:00.0",
    );
    expect(decision.possible).toEqual(["thru-host-bridge", "not-supported"]);
    expect(decision.reason).toContain("a device 00.0 may be missing");
    expect(decision).not.toHaveProperty("bridgeHidden");
  });
});

describe("broken bus numbers", () => {
  const bridge = (at: string, buses: string): string => {
    const [secondary, subordinate] = buses.split("-");
    return `${at} PCI bridge: PLX Technology, Inc. Device 8747\n\tFlags: bus master\n\tBus: primary=00, secondary=${secondary ?? ""}, subordinate=${subordinate ?? ""}, sec-latency=0\n\n`;
  };

  it("two bridges that claim each other's bus do not loop", () => {
    const parsed = parseTopology(bridge("01:00.0", "02-02") + bridge("02:00.0", "01-01"));
    expect(parsed.source.warnings.join()).toContain("0000:02:00.0");
    expect(parsed.at("02:00.0").parent).toBe(parsed.indexOf("01:00.0"));
    expect(parsed.at("01:00.0").parent).toBe(-1);
  });

  it("a bus behind two bridges goes to the first", () => {
    const parsed = parseTopology(
      `${bridge("00:01.0", "05-05")}${bridge("00:02.0", "05-05")}05:00.0 3D controller: NVIDIA Corporation Device 0001\n\n`,
    );
    expect(parsed.at("05:00.0").parent).toBe(parsed.indexOf("00:01.0"));
    expect(parsed.source.warnings.join()).toContain("also behind 0000:00:01.0");
  });

  it("a bridge that claims its own bus is ignored", () => {
    const parsed = parseTopology(bridge("03:00.0", "03-ff"));
    expect(parsed.at("03:00.0").parent).toBe(-1);
    expect(parsed.source.warnings).toHaveLength(1);
  });
});

describe("text that is something else", () => {
  it.each([
    ["", 1, "empty"],
    ["  \n\n", 1, "empty"],
    ["\n\nhello world\n", 3, "no PCI device"],
    ["-[0000:00]-+-00.0  Intel\n           \\-01.0-[01]--00.0\n", 1, "lspci -t"],
    ["Slot:\t00:00.0\nClass:\tHost bridge\n", 1, "lspci -vmm"],
    ['00:00.0 "Host bridge" "Intel" "x" -r02 "" ""\n', 1, "lspci -m"],
    ['<system version="1"><cpu><pci busid="0"/></cpu></system>', 1, "NCCL"],
    ['{"pairs": []}', 1, "not a peerbar capture"],
    ['{\n"schemaVersion": 1,\n', 3, "not valid JSON"],
  ])("%j is a ParseError at line %i: %s", (text, line, words) => {
    const error = thrown(() => parseTopology(text, { name: "x.txt" }));
    expect(error).toBeInstanceOf(ParseError);
    expect(error).toMatchObject({
      code: "EINVAL",
      line,
      source: "x.txt",
      hint: expect.any(String) as string,
    });
    expect((error as ParseError).message).toContain(words);
  });

  it("gzip, binary and UTF-16 bytes", () => {
    const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
    expect(thrown(() => parseTopology(Uint8Array.of(0x1f, 0x8b, 8, 0)))).toMatchObject({
      code: "EINVAL",
      hint: expect.stringContaining("@peerbar/p2pdma/node") as string,
    });
    expect(String(thrown(() => parseTopology(Uint8Array.of(1, 0, 0, 2))))).toContain("binary");
    expect(parseTopology(bytes(verbose)).functions).toHaveLength(9);
    const utf16 = Buffer.concat([Buffer.from([0xff, 0xfe]), Buffer.from(verbose, "utf16le")]);
    expect(parseTopology(utf16).functions).toHaveLength(9);
  });
});

function thrown(run: () => unknown): unknown {
  try {
    run();
  } catch (error) {
    return error;
  }
  return undefined;
}

function bar(
  index: number,
  start: bigint,
  length: bigint,
  flags = { is64Bit: true, prefetchable: true },
) {
  return { index, kind: "memory", start, busStart: start, length, ...flags };
}
