import { describe, expect, test } from "vitest";
import { server, shipped } from "./fixtures.js";
import { runCli } from "./run.js";

interface Report {
  readonly edits: readonly string[];
  readonly assumptions: readonly string[];
  readonly risks: readonly string[];
  readonly pairs: readonly {
    readonly provider: string;
    readonly client: string;
    readonly before: {
      readonly mapType: string;
      readonly mapping: string;
      readonly distance: number;
    };
    readonly after: {
      readonly mapType: string;
      readonly mapping: string;
      readonly distance: number;
    };
  }[];
  readonly iommuGroups: {
    readonly before: readonly (readonly string[])[];
    readonly after: readonly (readonly string[])[];
  } | null;
}

async function report(...argv: string[]): Promise<Report> {
  const { out, err, code } = await runCli("what-if", "--json", ...argv);
  expect([code, err]).toEqual([0, ""]);
  return JSON.parse(out) as Report;
}

describe("what-if", () => {
  test("--acs off opens the switch-local way and merges groups", async () => {
    const { pairs, iommuGroups } = await report("-F", shipped, "--acs", "52:00.0=off,52:02.0=off");
    expect(pairs.length).toBeGreaterThan(0);
    for (const pair of pairs) {
      expect(pair.before).toMatchObject({ mapType: "thru-host-bridge", mapping: "iova" });
      expect(pair.after).toMatchObject({ mapType: "bus-addr", mapping: "bus" });
    }
    expect(iommuGroups?.after).toContainEqual(["0000:52:00.0", "0000:53:00.0"]);
    expect(iommuGroups?.before.flat().sort()).toEqual(iommuGroups?.after.flat().sort());
  });

  test("off and on undo each other: nothing is left to change", async () => {
    const { pairs, iommuGroups } = await report(
      "-F",
      shipped,
      "--acs",
      "52:00.0=off",
      "--acs",
      "52:00.0=on",
    );
    expect(pairs).toEqual([]);
    expect(iommuGroups).toEqual({ before: [], after: [] });
  });

  test("a register as a number: SV alone does not redirect (p2pdma R7)", async () => {
    const { pairs } = await report("-F", shipped, "--acs", "1a:00.0=0x1", "--class", "gpu");
    expect(pairs).toEqual([]);
    const redirected = await report("-F", shipped, "--acs", "1a:00.0=0x4", "--class", "gpu");
    expect(redirected.pairs.map((pair) => pair.after.mapType)).toEqual([
      "thru-host-bridge",
      "thru-host-bridge",
    ]);
  });

  test("--trust-host-bridge: only refused pairs change, and the risk is said", async () => {
    const { pairs, risks } = await report("-F", shipped, "--trust-host-bridge", "--class", "gpu");
    expect(pairs.length).toBeGreaterThan(0);
    for (const pair of pairs) {
      expect(pair.before.mapType).toBe("not-supported");
      expect(pair.after.mapType).toBe("thru-host-bridge");
    }
    expect(risks.join()).toMatch(/corrupt peer traffic/);
  });

  test("--iommu off: no groups, CPU physical addresses; pt: direct; on: IOVAs (p2pdma R33, R34)", async () => {
    const off = await report("-F", shipped, "--iommu", "off", "--class", "gpu");
    expect(off.iommuGroups?.after).toEqual([]);
    expect(off.iommuGroups?.before.length).toBeGreaterThan(1);
    // Where the kernel may have set the redirects, the firmware's setting is not known.
    expect(new Set(off.pairs.map((pair) => pair.after.mapping))).toEqual(
      new Set(["direct", "unknown"]),
    );
    const pt = await report("-F", shipped, "--iommu", "pt", "--class", "gpu");
    const through = pt.pairs.filter((pair) => pair.after.mapType === "thru-host-bridge");
    expect(new Set(through.map((pair) => pair.after.mapping))).toEqual(new Set(["direct"]));
    // The kernel turns ACS redirection on with an IOMMU: what was switch-local is not any more.
    expect(pt.pairs.some((pair) => pair.before.mapType === "bus-addr")).toBe(true);
    const on = await report(
      "-F",
      server({ acs: "off", iommu: "off" }),
      "--iommu",
      "on",
      "--class",
      "gpu",
    );
    expect(on.pairs.filter((pair) => pair.after.mapping === "iova").length).toBeGreaterThan(0);
    expect(on.iommuGroups?.before).toEqual([]);
  });

  test("--move takes the whole device along and makes it switch-local", async () => {
    const { pairs } = await report("-F", shipped, "--move", "8d:00.0=1a:00.0", "-s", "1b:,8d:");
    const near = pairs.filter((pair) => pair.provider === "0000:1b:00.0");
    expect(near.map((pair) => [pair.client, pair.after.mapType, pair.after.distance])).toEqual([
      ["0000:8d:00.0", "bus-addr", 2],
      ["0000:8d:00.1", "bus-addr", 2],
      ["0000:8d:00.2", "bus-addr", 2],
    ]);
  });

  test("a whole switch moves with what is below it", async () => {
    const { pairs } = await report("-F", shipped, "--move", "89:00.0=00:1d.0", "--class", "gpu");
    const inside = pairs.filter(
      (pair) => pair.provider.startsWith("0000:8") && pair.client.startsWith("0000:8"),
    );
    expect(inside).toEqual([]);
    expect(
      pairs.find((pair) => pair.provider === "0000:8b:00.0" && pair.client === "0000:1b:00.0")
        ?.after.mapType,
    ).toBe("thru-host-bridge");
  });

  test("text counts, lists and merges directions", async () => {
    const { out, code } = await runCli(
      "what-if",
      "-F",
      shipped,
      "--acs",
      "52:00.0=off,52:02.0=off",
      "-s",
      "53:,55:00.0",
    );
    expect(code).toBe(0);
    expect(out).toContain("2 of 4 change");
    expect(out).toContain(
      "0000:53:00.0 GPU <-> 0000:55:00.0 NIC  thru-host-bridge (iova, 4) -> bus-addr (bus, 4)",
    );
    expect(out).toMatch(/IOMMU groups.*6 become 2/);
  });

  test.each([
    [[], "EINVAL"],
    [["--acs", "1b:00.0=off"], "EINVAL"],
    [["--acs", "52:00.0"], "EINVAL"],
    [["--acs", "52:00.0=maybe"], "EINVAL"],
    [["--acs", "52:00.0=0x10000"], "EINVAL"],
    [["--acs", "52:00.0=0x20"], "EINVAL"],
    [["--acs", "99:00.0=off"], "ENODEV"],
    [["--iommu", "sideways"], "EINVAL"],
    [["--move", "8d:00.0=1b:00.0"], "EINVAL"],
    [["--move", "8d:00.1=1a:00.0"], "EINVAL"],
    [["--move", "19:00.0=1a:00.0"], "EINVAL"],
    [["--move", "8d:00.0=19:00.0"], "EINVAL"],
    [["--move", "8d:00.0"], "EINVAL"],
  ])("%j is refused in one line", async (argv, errno) => {
    const { code, out, err } = await runCli("what-if", "-F", shipped, ...argv);
    expect([code, out]).toEqual([2, ""]);
    expect(err).toMatch(new RegExp(`^peerbar: ${errno}: [^\\n]+; [^\\n]+\\n$`));
  });
});
