import { describe, expect, test } from "vitest";
import { run } from "../src/main.js";
import { server, shipped } from "./fixtures.js";
import { runCli } from "./run.js";

/** With a locale and a width of its own. */
async function draw(width: number, LANG: string, ...argv: string[]): Promise<string> {
  const out: string[] = [];
  const io = {
    out: (text: string) => out.push(text),
    err: () => undefined,
    color: false,
    width,
    env: { LANG },
  };
  expect(await run(argv, io)).toBe(0);
  return out.join("");
}

const isAscii = (text: string): boolean => /^[\n -~]*$/.test(text);

describe("topo", () => {
  test("shows each function once, below its bridge", async () => {
    const out = await draw(120, "C.UTF-8", "topo", "--all", "--vfs", "-F", shipped);
    const { out: text } = await runCli("topo", "--json", "-F", shipped);
    const { functions } = JSON.parse(text) as { functions: { address: string; parent?: string }[] };
    const lines = out.split("\n");
    const lineOf = (address: string): number[] =>
      lines.flatMap((line, i) => (new RegExp(`^[│├└─ ]*${address}\\b`).test(line) ? [i] : []));
    for (const fn of functions) {
      const [at = -1, ...more] = lineOf(fn.address);
      expect(more).toEqual([]);
      expect(at).toBeGreaterThan(0);
      if (fn.parent === undefined) continue;
      const [above = -1] = lineOf(fn.parent);
      expect(at).toBeGreaterThan(above);
      const column = (line: string | undefined): number => line?.search(/[0-9a-f]{4}:/) ?? -1;
      expect(column(lines[at])).toBe(column(lines[above]) + 3);
    }
  });

  test("shows ACS, link, node, group and names", async () => {
    const out = await draw(120, "C.UTF-8", "topo", "-F", shipped);
    expect(out).toMatch(/0000:52:00\.0 switch down +32x16 +!RR,CR SV,UF +0 +8 /);
    expect(out).toMatch(/0000:1d:00\.0 NIC +16x16 +0 +4 +mlx5_0 \+2 VFs Mellanox/);
    expect(out).toContain("host bridge 0000:88: not listed for peer traffic");
  });

  test("ASCII without UTF-8 in the locale, and with --ascii", async () => {
    expect(isAscii(await draw(100, "C", "topo", "-F", shipped))).toBe(true);
    expect(isAscii(await draw(100, "", "topo", "-F", shipped))).toBe(true);
    expect(isAscii(await draw(100, "en_US.UTF-8", "topo", "--ascii", "-F", shipped))).toBe(true);
    expect(isAscii(await draw(100, "en_US.UTF-8", "topo", "-F", shipped))).toBe(false);
  });

  test.each([80, 100, 132])("fits %i columns", async (width) => {
    const out = await draw(width, "C.UTF-8", "topo", "-F", shipped);
    expect(out.split("\n").filter((line) => line.length > width)).toEqual([]);
  });

  test("selectors keep what leads to the chosen ones, and nothing else", async () => {
    const out = await draw(100, "C.UTF-8", "topo", "-s", "nvme1", "-F", shipped);
    const shown = [...out.matchAll(/[├└]─ (\S+)/g)].map((match) => match[1]);
    expect(shown).toEqual(["0000:18:01.0", "0000:19:00.0", "0000:1a:03.0", "0000:1e:00.0"]);
  });

  test("virtual functions are counted, and listed on demand", async () => {
    const path = server({ vfs: 3 });
    expect(await draw(160, "C.UTF-8", "topo", "-F", path)).toContain("3 VFs");
    const listed = await draw(160, "C.UTF-8", "topo", "--vfs", "-F", path);
    expect(listed).not.toContain("3 VFs");
    expect(listed.match(/NIC VF/g)).toHaveLength(12);
  });

  test("--json: addresses and registers are hex strings", async () => {
    const { out } = await runCli("topo", "--json", "-F", shipped, "-s", "53:00.0");
    const report = JSON.parse(out) as {
      schemaVersion: number;
      functions: Record<string, unknown>[];
    };
    expect(report.schemaVersion).toBe(1);
    const port = report.functions.find((fn) => fn.address === "0000:52:00.0");
    expect(port?.acs).toEqual({
      state: "present",
      control: "0x001d",
      capability: "0x005f",
      bits: ["RR", "CR", "SV", "UF"],
      redirects: true,
    });
  });
});
