import { generateServer, matrix as makeMatrix, P2pdma, parseTopology } from "@peerbar/p2pdma";
import { readTopology } from "@peerbar/p2pdma/node";
import { describe, expect, test } from "vitest";
import { pairCsv, pairJson } from "../src/pair-json.js";
import { PairTexts } from "../src/pair-texts.js";
import { expectedPairs, file, realMachines, server, shipped } from "./fixtures.js";
import { runCli } from "./run.js";

interface Pair {
  readonly provider: string;
  readonly client: string;
  readonly mapType: string;
  readonly possible?: readonly string[];
  readonly distance: number;
  readonly acsRedirect: readonly string[];
  readonly acsUnknown?: readonly string[];
  readonly hostBridgeUnknown?: true;
  readonly reason: string;
}

async function pairsOf(...argv: string[]): Promise<readonly Pair[]> {
  const { out, err, code } = await runCli("matrix", "--json", ...argv);
  expect([code, err]).toEqual([0, ""]);
  return (JSON.parse(out) as { pairs: Pair[] }).pairs;
}

describe("matrix --json", () => {
  test("has the keys of the contract and every ordered pair, each function with itself included", async () => {
    const { out } = await runCli("matrix", "--json", "-F", shipped);
    const report = JSON.parse(out) as Record<string, unknown> & { pairs: Pair[] };
    expect(report.schemaVersion).toBe(1);
    expect(report.cpu).toBe("intel");
    expect(report.source).toMatchObject({ name: "gpu-server-2s", format: "generated" });
    const names = new Set(report.pairs.map((pair) => pair.provider));
    expect(report.pairs).toHaveLength(names.size ** 2);
    for (const pair of report.pairs) {
      expect(["bus-addr", "thru-host-bridge", "not-supported", "unknown"]).toContain(pair.mapType);
      expect(pair.reason).toMatch(/\.$/);
      expect(pair.provider).toMatch(/^[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$/);
    }
  });

  test.each([
    ["ACS on", generateServer({ acs: "on" })],
    ["ACS mixed, one socket", generateServer({ acs: "mixed", sockets: 1, hostBridges: "mixed" })],
    ["no ACS, unlisted", generateServer({ acs: "off", hostBridges: "unlisted" })],
  ])("text put together by classes is what each decision says: %s", (_, topology) => {
    expectSameTexts(new P2pdma(topology));
  });

  test("the same where nothing of ACS is shown, and functions redirect themselves", () => {
    const dump = [
      "00:00.0 Host bridge: Intel Corporation Device 1234",
      "\tCapabilities: <access denied>",
      "00:01.0 PCI bridge: Intel Corporation Device 1235",
      "\tBus: primary=00, secondary=01, subordinate=01, sec-latency=0",
      "\tCapabilities: <access denied>",
      ...[0, 1, 2, 3].flatMap((fn) => [
        `01:00.${String(fn)} Ethernet controller: Intel Corporation Device 1236`,
        "\tCapabilities: <access denied>",
      ]),
    ].join("\n");
    const p2pdma = new P2pdma(parseTopology(dump), { cpu: "intel" });
    expectSameTexts(p2pdma);
    for (const fn of [0, 1, 3]) {
      p2pdma.setAcs(`01:00.${String(fn)}`, { state: "present", control: 0x1d, capability: 0x7f });
    }
    expectSameTexts(p2pdma);
  });

  test("the same where neighbours redirect by different bits: a reason names those of its own functions (p2pdma R7)", () => {
    const dump = [
      "00:00.0 Host bridge: Intel Corporation Device 1234",
      "00:01.0 PCI bridge: Intel Corporation Device 1235",
      "\tBus: primary=00, secondary=01, subordinate=01, sec-latency=0",
      ...[0, 1, 2, 3].map(
        (fn) => `01:00.${String(fn)} Ethernet controller: Intel Corporation Device 1236`,
      ),
    ].join("\n");
    const p2pdma = new P2pdma(parseTopology(dump), { cpu: "intel" });
    for (const [fn, control] of [0x04, 0x0c, 0x20, 0x24].entries()) {
      p2pdma.setAcs(`01:00.${String(fn)}`, { state: "present", control, capability: 0x7f });
    }
    expectSameTexts(p2pdma);
    const pairs = makeMatrix(p2pdma);
    expect(pairs.decisionAt(2, 3).reason).toContain("01:00.1 (RR+CR), 0000:01:00.2 (EC)");
  });

  const machines = realMachines();
  test.skipIf(machines.length === 0)(
    "real machines: text by classes equals each decision, on at most 40,000 pairs of each",
    { timeout: 120_000 },
    async () => {
      for (const { path } of machines) {
        const topology = await readTopology(path);
        const ends = topology.endpoints();
        const step = Math.ceil(ends.length / 200);
        expectSameTexts(
          new P2pdma(topology, { cpu: "intel" }),
          ends.filter((_, i) => i % step === 0).map((fn) => fn.address),
        );
      }
    },
  );

  test
    .skipIf(machines.length === 0)
    .each(
      machines.flatMap(({ name, path }) =>
        (["intel", "amd-zen"] as const).map((cpu) => [name, cpu, path] as const),
      ),
    )(
    "%s as %s: the answers of the independent computation",
    { timeout: 60_000 },
    async (name, cpu, path) => {
      const pairs = await pairsOf("-F", path, "--cpu", cpu);
      const found = new Map(pairs.map((pair) => [`${pair.provider} ${pair.client}`, pair]));
      for (const want of expectedPairs(name, cpu)) {
        const pair = found.get(`${want.provider} ${want.client}`);
        expect(pair?.distance).toBe(want.distance);
        expect(pair?.acsRedirect).toEqual(want.acs);
        if (pair?.mapType === "unknown") {
          expect(want.acsUnknown ?? want.hostBridgeUnknown).toBeDefined();
          // Where the host bridge is a best guess there, it is none to be asserted.
          if (want.hostBridgeUnknown !== true) expect(pair.possible).toContain(want.mapType);
        } else if (want.hostBridgeUnknown !== true) {
          expect(pair?.mapType).toBe(want.mapType);
        }
        expect(pair?.acsUnknown).toEqual(want.acsUnknown);
      }
    },
  );
});

test("a machine of bridges only has no pairs: one line says so, and what to do", async () => {
  const bridge =
    "00:00.0 PCI bridge: Intel Corporation Device 1234\n\tBus: primary=00, secondary=01, subordinate=01, sec-latency=0\n";
  const { code, out, err } = await runCli("matrix", "-F", file("bridges.txt", bridge));
  expect([code, out]).toEqual([2, ""]);
  expect(err).toMatch(
    /^peerbar: ENODEV: select: \S+ has no endpoint; it lists bridges only: .*\n$/,
  );
});

function expectSameTexts(p2pdma: P2pdma, members?: readonly string[]): void {
  const pairs = makeMatrix(p2pdma, members);
  for (const write of [
    (d: Parameters<typeof pairJson>[0]) => JSON.stringify(pairJson(d)),
    pairCsv,
  ]) {
    const texts = new PairTexts(p2pdma.topology, pairs, write);
    for (let row = 0; row < pairs.size; row += 1) {
      const wanted = Array.from({ length: pairs.size }, (_, column) =>
        write(pairs.decisionAt(row, column)),
      );
      expect(texts.row(row)).toEqual(wanted);
    }
  }
}

describe("matrix as a table", () => {
  test("16 devices fit 80 columns, with a legend", async () => {
    const { out, code } = await runCli(
      "matrix",
      "-F",
      server({ vfs: 0 }),
      "--class",
      "gpu,nic,nvme",
    );
    expect(code).toBe(0);
    const rows = out.split("\n").filter((line) => /^ ?\d+ {2}0000:/.test(line));
    expect(rows.length).toBeGreaterThanOrEqual(16);
    for (const row of rows) expect(row.length).toBeLessThanOrEqual(80);
    expect(out).toContain("B: bus address, switch-local.");
    expect(out).toMatch(new RegExp(`^${String(rows.length ** 2)} pairs: `, "m"));
  });

  test("each letter is the map type that --json has", async () => {
    const { out } = await runCli("matrix", "-F", shipped, "--class", "gpu");
    const rows = out.split("\n").filter((line) => /^ ?\d+ {2}0000:/.test(line));
    const letters = rows.map((row) => row.trim().split(/\s+/).slice(3));
    const pairs = await pairsOf("-F", shipped, "--class", "gpu");
    const marks: Record<string, string> = {
      "bus-addr": "B",
      "thru-host-bridge": "H",
      "not-supported": "-",
      unknown: "?",
    };
    expect(letters.flat()).toEqual(pairs.map((pair) => marks[pair.mapType]));
  });
});

describe("selectors", () => {
  const providers = async (...argv: string[]): Promise<string[]> => [
    ...new Set((await pairsOf("-F", shipped, ...argv)).map((pair) => pair.provider)),
  ];

  test.each([
    ["-s", "1b:", ["0000:1b:00.0"]],
    ["-s", "1b:00.0,1c:00.0", ["0000:1b:00.0", "0000:1c:00.0"]],
    ["-s", "nvme1", ["0000:1e:00.0"]],
    ["-s", "mlx5_0,0000:53:00.0", ["0000:1d:00.0", "0000:53:00.0"]],
    [
      "-d",
      "144d:",
      ["0000:03:00.0", "0000:1e:00.0", "0000:56:00.0", "0000:8e:00.0", "0000:c6:00.0"],
    ],
    [
      "-d",
      "::0108:02",
      ["0000:03:00.0", "0000:1e:00.0", "0000:56:00.0", "0000:8e:00.0", "0000:c6:00.0"],
    ],
  ])("%s %s", async (option, value, wanted) => {
    expect(await providers(option, value)).toEqual(wanted);
  });

  test("selectors of different kinds narrow each other", async () => {
    expect(await providers("-s", "1b:,1d:", "--class", "gpu")).toEqual(["0000:1b:00.0"]);
  });

  test.each([
    [["-s", "zz"], "EINVAL"],
    [["-s", ""], "EINVAL"],
    [["-d", "10de"], "EINVAL"],
    [["-d", "12345:"], "EINVAL"],
    [["--class", "gpu,toaster"], "EINVAL"],
    [["-s", "ff:"], "ENODEV"],
    [["--json", "--csv"], "EINVAL"],
  ])("%j is refused in one line", async (argv, errno) => {
    const { code, out, err } = await runCli("matrix", "-F", shipped, ...argv);
    expect([code, out]).toEqual([2, ""]);
    expect(err).toMatch(new RegExp(`^peerbar: ${errno}: [^\\n]+; [^\\n]+\\n$`));
  });
});

describe("matrix for other programs", () => {
  test("--csv has one line a pair, quoted where it must be", async () => {
    const { out } = await runCli("matrix", "-F", shipped, "--class", "gpu", "--csv");
    const [header, ...lines] = out.trimEnd().split("\n");
    expect(header).toBe(
      "provider,client,mapType,possible,distance,acsRedirect,acsUnknown,reason,rule",
    );
    const pairs = await pairsOf("-F", shipped, "--class", "gpu");
    expect(lines).toHaveLength(pairs.length);
    for (const [i, pair] of pairs.entries()) {
      expect(lines[i]).toContain(`${pair.provider},${pair.client},${pair.mapType},`);
      expect(lines[i]).toContain(`"${pair.reason}"`);
    }
  });

  test("--dot has an edge for each two that reach each other, and none for those that do not", async () => {
    const { out } = await runCli("matrix", "-F", shipped, "--class", "gpu", "--dot");
    const pairs = await pairsOf("-F", shipped, "--class", "gpu");
    const open = pairs.filter(
      (pair) => pair.provider < pair.client && pair.mapType !== "not-supported",
    );
    const edges = out.split("\n").filter((line) => line.includes(" -- "));
    expect(edges).toHaveLength(open.length);
    for (const pair of open) expect(out).toContain(`"${pair.provider}" -- "${pair.client}"`);
    expect(out.split("{").length).toBe(out.split("}").length);
  });

  test("a name with quotes does not break the graph", async () => {
    const path = file(
      "q.txt",
      '00:02.0 VGA compatible controller: Acme "Fast\\" GPU\n00:03.0 VGA compatible controller: Other\n',
    );
    const { out } = await runCli("matrix", "-F", path, "--cpu", "amd-zen", "--dot");
    expect(out).toContain('Acme \\"Fast\\\\\\" GPU');
  });
});
