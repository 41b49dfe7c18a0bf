import { readFileSync } from "node:fs";
import { linkRate } from "@peerbar/p2pdma";
import { describe, expect, test } from "vitest";
import { file, server, shipped } from "./fixtures.js";
import { runCli } from "./run.js";

interface Account {
  readonly answer: string;
  readonly mapType: string;
  readonly distance: number;
  readonly pathClass: string | null;
  readonly commonAncestor: string | null;
  readonly mapping: { readonly kind: string };
  readonly bottleneck: {
    readonly current?: { readonly address: string; readonly gigabits: number };
  };
  readonly providerPath: readonly {
    readonly address: string;
    readonly redirects: boolean | null;
  }[];
  readonly clientPath: readonly { readonly address: string }[];
  readonly fixes: readonly {
    readonly kind: string;
    readonly what: string;
    readonly gives?: string;
    readonly cost?: string;
    readonly lines: readonly { readonly text: string }[];
  }[];
  readonly bars: readonly {
    readonly index: number;
    readonly start: string;
    readonly length: string;
  }[];
}

async function account(...argv: string[]): Promise<Account> {
  return JSON.parse((await runCli("why", "--json", ...argv)).out) as Account;
}

/** A switch with a GPU and a NIC as `lspci -vvv` prints them, with the GPU's regions as given. */
function withRegions(...regions: string[]): string {
  const bridge = (at: string, buses: string, type: string): string[] => [
    `${at} PCI bridge [0604]: PLX Technology, Inc. Device [10b5:8749]`,
    "\tControl: I/O- Mem+ BusMaster+",
    `\tBus: primary=00, secondary=${buses.slice(0, 2)}, subordinate=${buses.slice(3)}, sec-latency=0`,
    `\tCapabilities: [68] Express (v2) ${type}, MSI 00`,
    "\tCapabilities: [100 v1] Device",
    "",
  ];
  const device = (at: string, name: string, lines: readonly string[]): string[] => [
    `${at} ${name}`,
    "\tControl: I/O- Mem+ BusMaster+",
    ...lines.map((line) => `\t${line}`),
    "\tCapabilities: [60] Express (v2) Endpoint, MSI 00",
    "\tCapabilities: [100 v1] Device",
    "",
  ];
  return file(
    "regions.txt",
    [
      "00:00.0 Host bridge [0600]: Intel Corporation Device [8086:6f00]",
      "",
      ...bridge("00:01.0", "01-04", "Root Port (Slot+)"),
      ...bridge("01:00.0", "02-04", "Upstream Port"),
      ...bridge("02:00.0", "03-03", "Downstream Port (Slot+)"),
      ...bridge("02:01.0", "04-04", "Downstream Port (Slot+)"),
      ...device("03:00.0", "3D controller [0302]: NVIDIA Corporation Device [10de:2330]", regions),
      ...device("04:00.0", "Ethernet controller [0200]: Mellanox Technologies X [15b3:101d]", []),
    ].join("\n"),
  );
}

describe("why, by what is known of BARs and links", () => {
  test.each([
    ["I/O only", "Region 0: I/O ports at e000 [size=128]"],
    ["unassigned", "Region 0: Memory at <unassigned> (64-bit, prefetchable) [disabled]"],
    ["ignored", "Region 0: Memory at <ignored> (32-bit, non-prefetchable)"],
  ])("p2pdma R4: a provider without a memory BAR is a no, %s", async (_, region) => {
    const { code, out } = await runCli("why", "-F", withRegions(region), "03:00.0", "04:00.0");
    expect(code).toBe(1);
    expect(out).toMatch(/^NO\. 0000:03:00\.0 has no memory BAR/m);
    const json = await account("-F", withRegions(region), "03:00.0", "04:00.0");
    expect([json.answer, json.mapType]).toEqual(["no", "bus-addr"]);
  });

  test("BARs that are not shown are no no", async () => {
    const { code, out } = await runCli("why", "-F", withRegions(), "03:00.0", "04:00.0");
    expect(code).toBe(0);
    expect(out.replaceAll(/\s+/g, " ")).toContain(
      "shows no memory BAR of 0000:03:00.0, and may not",
    );
  });

  test("a plain listing: links and BARs are not shown, and nobody is said not to be asked", async () => {
    const path = file(
      "plain.txt",
      "00:00.0 Host bridge [0600]: Intel [8086:6f00]\n03:00.0 3D controller [0302]: NVIDIA [10de:2330]\n04:00.0 Ethernet controller [0200]: Mellanox [15b3:101d]\n",
    );
    const { code, out } = await runCli("why", "-F", path, "03:00.0", "04:00.0");
    const text = out.replaceAll(/\s+/g, " ");
    expect(code).toBe(3);
    expect(text).toContain("the input shows no link on the way");
    expect(text).not.toContain("nothing to share");
    expect(text).not.toContain("are not asked");
  });

  test("what was broken in the input is told", async () => {
    const path = file("damaged.txt", `${readFileSync(withRegions(), "utf8")}0z:00.0 Lost\n\tx\n`);
    const { out } = await runCli("why", "-F", path, "03:00.0", "04:00.0");
    expect(out.replaceAll(/\s+/g, " ")).toContain('no PCI address can be read in "0z:00.0 Lost"');
    for (const verb of ["topo", "matrix"]) {
      expect((await runCli(verb, "-F", path)).out).toContain("broken input: line");
    }
  });
});

describe("why", () => {
  test("switch-local: exit 0, both ways drawn, bus addresses, no fix (p2pdma R9)", async () => {
    const { code, out, err } = await runCli("why", "-F", shipped, "1b:00.0", "1c:00.0");
    expect([code, err]).toEqual([0, ""]);
    expect(out).toContain("YES, switch-local.");
    expect(out).toMatch(
      /provider {2}0000:1b:00\.0[\s\S]*\* +0000:19:00\.0[\s\S]*client {4}0000:1c:00\.0/,
    );
    expect(out).toContain("addresses   bus:");
    expect(out).toContain("PIX");
    expect(out).not.toMatch(/^fix/m);
    const told = await account("-F", shipped, "1b:00.0", "1c:00.0");
    expect(told).toMatchObject({
      answer: "yes",
      mapType: "bus-addr",
      distance: 4,
      pathClass: "PIX",
      fixes: [],
    });
    expect(told.providerPath.map((step) => step.address)).toEqual([
      "0000:1b:00.0",
      "0000:1a:00.0",
      "0000:19:00.0",
    ]);
    expect(told.clientPath.map((step) => step.address)).toEqual(["0000:1c:00.0", "0000:1a:01.0"]);
    expect(told.bars[0]?.start).toMatch(/^0x[0-9a-f]+$/);
  });

  test("redirected: names the bits in words, the shorter way as exact text, and what it costs (p2pdma R7)", async () => {
    const { code, out } = await runCli("why", "-F", shipped, "53:00.0", "mlx5_1");
    expect(code).toBe(0);
    expect(out).toContain("YES, through the host bridge");
    expect(out).toContain("ACS REDIRECTS: RR peer requests redirected up");
    expect(out).toContain("pci=disable_acs_redir=0000:52:00.0;0000:52:02.0");
    expect(out).toContain("pci=config_acs=x0x00xx@0000:52:00.0;x0x00xx@0000:52:02.0");
    expect(out).toContain("setpci -s 0000:52:02.0 ECAP_ACS+6.w=0000:002c");
    expect(out).toMatch(/cost .*IOMMU/s);
    expect((await account("-F", shipped, "53:00.0", "mlx5_1")).mapping.kind).toBe("iova");
  });

  test("what a fix promises is what what-if says after it", async () => {
    const path = server({ acs: "on", hostBridges: "unlisted" });
    const told = await account("-F", path, "1b:00.0", "1c:00.0");
    expect(told).toMatchObject({ answer: "no", mapType: "not-supported" });
    const fix = told.fixes.find((one) => one.kind === "acs");
    expect(fix?.gives).toBe("bus-addr");
    const ports = fix?.lines[0]?.text.replace("pci=disable_acs_redir=", "").split(";") ?? [];
    const edits = ports.flatMap((port) => ["--acs", `${port}=off`]);
    const { out } = await runCli("what-if", "--json", "-F", path, "-s", "1b:,1c:", ...edits);
    const { pairs } = JSON.parse(out) as {
      pairs: { provider: string; client: string; after: { mapType: string } }[];
    };
    const pair = pairs.find(
      (one) => one.provider === "0000:1b:00.0" && one.client === "0000:1c:00.0",
    );
    expect(pair?.after.mapType).toBe("bus-addr");
    // The smallest change: without one of the ports it is not enough.
    const fewer = await runCli(
      "what-if",
      "--json",
      "-F",
      path,
      "-s",
      "1b:,1c:",
      "--acs",
      `${ports[0] ?? ""}=off`,
    );
    const left = (JSON.parse(fewer.out) as { pairs: { provider: string; client: string }[] }).pairs;
    expect(left.filter((one) => one.provider !== one.client)).toEqual([]);
  });

  test("refused: exit 1, both host bridges named, a move or a nearer client offered", async () => {
    const { code, out } = await runCli("why", "-F", shipped, "1b:00.0", "mlx5_2");
    expect(code).toBe(1);
    expect(out).toMatch(/^NO\./m);
    expect(out).toContain("0000:88:01.0 (8086:352a) is not on the list");
    expect(out).toContain("plug 0000:8d:00.0 in below the switch 0000:19:00.0");
    expect(out).toMatch(/RISK +a host bridge that is not on the list/);
    expect(out).toMatch(/instead +switch-local to this provider: 0000:1d:00\.0/);
    expect(out).toContain("SYS: across NUMA nodes");
  });

  test("a client that is a virtual function is moved with its physical function", async () => {
    const told = await account("-F", shipped, "1b:00.0", "8d:00.1");
    expect(told.fixes[0]?.what).toContain("plug 0000:8d:00.0 in below");
  });

  test("CPU AMD Zen passes what the list refuses (p2pdma R17)", async () => {
    const { code, out } = await runCli(
      "why",
      "-F",
      shipped,
      "1b:00.0",
      "mlx5_2",
      "--cpu",
      "amd-zen",
    );
    expect(code).toBe(0);
    expect(out).toContain("decided by  the CPU (p2pdma R17)");
  });

  test("what the input does not show is unknown: exit 3, the possible answers, how to look (p2pdma R29)", async () => {
    const path = file(
      "user.txt",
      [
        "00:00.0 Host bridge: Intel Corporation Device 1234",
        "00:01.0 PCI bridge: Intel Corporation Device 1235",
        "\tBus: primary=00, secondary=01, subordinate=01, sec-latency=0",
        "\tCapabilities: <access denied>",
        "01:00.0 VGA compatible controller: NVIDIA Corporation Device 1236",
        "\tCapabilities: <access denied>",
        "01:00.1 Ethernet controller: Intel Corporation Device 1237",
        "\tCapabilities: <access denied>",
      ].join("\n"),
    );
    const { code, out } = await runCli("why", "-F", path, "--cpu", "intel", "01:00.0", "01:00.1");
    expect(code).toBe(3);
    expect(out).toContain("CANNOT TELL");
    expect(out).toContain("unknown: bus-addr or not-supported");
    expect(out).toContain("sudo lspci -vvv -nn");
    expect(out).toContain("ACS not shown");
  });

  test("a function reaches its own BARs, over no link (p2pdma R8)", async () => {
    const told = await account("-F", shipped, "1b:00.0", "1b:00.0");
    expect(told).toMatchObject({
      answer: "yes",
      distance: 0,
      bottleneck: { notShown: [] },
      pathClass: "X",
    });
  });

  test("the narrowest link: a drive's x4 decides between a GPU and a drive", async () => {
    const told = await account("-F", shipped, "1b:00.0", "nvme1");
    expect(told.bottleneck.current?.address).toBe("0000:1e:00.0");
    expect(told.bottleneck.current?.gigabits).toBeCloseTo((16 * 4 * 128) / 130, 6);
  });

  test("line coding: 8b/10b up to 5 GT/s, 128b/130b to 32, flits above", () => {
    expect(linkRate(5, 1)).toBe(4);
    expect(linkRate(8, 1)).toBeCloseTo(7.877, 3);
    expect(linkRate(64, 16)).toBe(968);
  });

  test("every line but those to paste fits the width", async () => {
    for (const pair of [
      ["53:00.0", "mlx5_1"],
      ["1b:00.0", "mlx5_2"],
    ]) {
      const { out } = await runCli("why", "-F", shipped, ...pair);
      const wide = out
        .split("\n")
        .filter((line) => line.length > 100 && !/pci=|setpci|what-if/.test(line));
      expect(wide).toEqual([]);
    }
  });

  test.each([
    [["99:00.0", "1b:00.0"], "ENODEV"],
    [["1b:00.0", "toaster0"], "ENODEV"],
    [["1b:00.0"], "EINVAL"],
    [["1b:00.0", "1c:00.0", "1d:00.0"], "EINVAL"],
  ])("%j: one line, exit 2", async (argv, errno) => {
    const { code, out, err } = await runCli("why", "-F", shipped, ...argv);
    expect([code, out]).toEqual([2, ""]);
    expect(err).toMatch(new RegExp(`^peerbar: ${errno}: [^\\n]+\\n$`));
  });
});
