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
