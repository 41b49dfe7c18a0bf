import { readFileSync } from "node:fs";
import { isDmaBufError } from "@peerbar/core";
import { describe, expect, it } from "vitest";
import {
  generateServer,
  MapSysfsTree,
  matrix,
  P2pdma,
  ParseError,
  type PciTopology,
  parseSysfs,
  parseTopology,
  type SysfsEntry,
  toCapture,
} from "../src/index.js";
import { Config } from "./config-bytes.js";
import { verbose } from "./listing.js";
import { Mutator } from "./mutate.js";
import { machines, SHARED } from "./shared-topologies.js";

const CASES = 20_000;
const SEED = Number(process.env.FUZZ_SEED ?? 20_260_801);

/** The repository's own inputs, and the real machines where they are at hand. */
function corpus(): { name: string; text: string }[] {
  const hex = [
    new Config().header(0x8086, 0x2020, 0x060000).express(4).dump("00:00.0", 256),
    new Config()
      .header(0x8086, 0x2030, 0x060400, 1)
      .express(4)
      .u8(0x19, 1)
      .u8(0x1a, 1)
      .acs(0x100, 0, 0x1f, 0x1d)
      .dump("00:01.0"),
    new Config().header(0x15b3, 0x101d, 0x020000).express(0).dump("01:00.0", 256),
  ].join("");
  const own = [
    { name: "own listing", text: verbose },
    { name: "own hex", text: hex },
    { name: "own capture", text: toCapture(generateServer({ vfs: 1, acs: "mixed" })) },
  ];
  const real = machines()
    .filter((name) => name.endsWith(".txt"))
    .map((name) => ({ name, text: readFileSync(SHARED + name, "latin1") }));
  return [...own, ...own, ...own, ...real];
}

/** A topology must hold together whatever it was read from: links in range, no loops, answers for pairs. */
function check(topology: PciTopology): void {
  const { functions, hostBridges } = topology;
  const n = functions.length;
  if (n === 0) throw new Error("no functions, and no error");
  for (const [index, fn] of functions.entries()) {
    if (fn.parent >= n || fn.parent === index || fn.physfn >= n) throw new Error("bad link");
    if (hostBridges[fn.hostBridge] === undefined) throw new Error("no host bridge");
    let at = index;
    for (let steps = 0; at >= 0; steps += 1) {
      if (steps > n) throw new Error("loop");
      at = functions[at]?.parent ?? -1;
    }
  }
  const p2pdma = new P2pdma(topology);
  for (let at = 0; at < Math.min(n, 12); at += 1) {
    const decision = p2pdma.decide(at, (at * 7 + 3) % n);
    if (!decision.reason.endsWith(".") || decision.rule === "") throw new Error("no reason");
    if ((decision.mapType === "unknown") !== (decision.possible !== undefined)) {
      throw new Error("unknown without possible answers");
    }
  }
  if (n <= 40) matrix(p2pdma).counts();
}

interface Outcome {
  read: number;
  refused: number;
  slowest: number;
}

function attempt(outcome: Outcome, what: string, run: () => PciTopology): void {
  const start = performance.now();
  try {
    check(run());
    outcome.read += 1;
  } catch (error) {
    const named = error instanceof ParseError && error.line >= 1 && error.hint !== undefined;
    if (!named && !(isDmaBufError(error) && error.code === "EINVAL" && error.hint !== undefined)) {
      throw new Error(`${what}: ${String(error)}`, { cause: error });
    }
    outcome.refused += 1;
  }
  outcome.slowest = Math.max(outcome.slowest, performance.now() - start);
}

describe("damaged input gives a result or an error that names the line, never a crash or a hang", () => {
  it(`${CASES.toLocaleString("en")} damaged listings and captures`, () => {
    const inputs = corpus();
    const mutator = new Mutator(SEED);
    const outcome: Outcome = { read: 0, refused: 0, slowest: 0 };
    for (let n = 0; n < CASES; n += 1) {
      const input = mutator.pick(inputs);
      const isCapture = input.text.startsWith("{");
      const part = isCapture ? input.text : mutator.window(input.text, 1000 + mutator.below(8000));
      const text = mutator.damage(part);
      attempt(outcome, `seed ${SEED.toString()}, case ${n.toString()} of ${input.name}`, () =>
        parseTopology(text, { name: input.name }),
      );
    }
    console.log(
      `fuzz: seed ${SEED.toString()}, ${outcome.read.toString()} read, ${outcome.refused.toString()} refused, slowest ${outcome.slowest.toFixed(0)} ms`,
    );
    expect(outcome.read + outcome.refused).toBe(CASES);
    expect(outcome.read).toBeGreaterThan(CASES / 4);
    expect(outcome.refused).toBeGreaterThan(CASES / 100);
  }, 180_000);

  it("2,000 damaged sysfs trees", () => {
    const mutator = new Mutator(SEED + 1);
    const outcome: Outcome = { read: 0, refused: 0, slowest: 0 };
    for (let n = 0; n < 2000; n += 1) {
      const entries = damagedTree(mutator);
      attempt(outcome, `seed ${SEED.toString()}, tree ${n.toString()}`, () =>
        parseSysfs(new MapSysfsTree(entries), { name: "tree" }),
      );
    }
    expect(outcome.read).toBeGreaterThan(1000);
  }, 120_000);
});

const names = [
  "0000:00:00.0",
  "0000:00:01.0",
  "0000:01:00.0",
  "0000:02:00.0",
  "0001:00:00.0",
  "10000:e0:1f.7",
];
const folders = [
  "devices/pci0000:00",
  "devices/pci0000:00/0000:00:01.0",
  "devices/pci10000:e0",
  "bus/pci/devices",
];

function damagedTree(mutator: Mutator): [string, SysfsEntry][] {
  const entries: [string, SysfsEntry][] = [];
  for (let n = mutator.below(12) + 1; n > 0; n -= 1) {
    const path = `${mutator.pick(folders)}/${mutator.pick(names)}`;
    const name = path.split("/").at(-1) ?? "";
    const config = new Config(mutator.pick([0, 3, 64, 256, 4096]));
    for (let at = 0; at < config.bytes.length; at += 1) {
      if (mutator.below(3) === 0) config.bytes[at] = mutator.below(256);
    }
    entries.push([`${path}/config`, config.bytes]);
    if (mutator.below(2) === 0) {
      entries.push([`bus/pci/devices/${name}`, { link: mutator.damage(`../../../${path}`) }]);
    }
    if (mutator.below(3) === 0)
      entries.push([`${path}/physfn`, { link: `../${mutator.pick(names)}` }]);
    entries.push([
      `${path}/resource`,
      mutator.damage("0x0000000090000000 0x00000000900fffff 0x0000000000140204\n"),
    ]);
  }
  return entries;
}

// How long they take is measured in apps/bench (topology/parse-growth); here they must end, with an answer or a ParseError.
describe("hostile shapes end", () => {
  const ends = (make: (size: number) => string): void => {
    for (const size of [400, 3200]) {
      try {
        expect(parseTopology(make(size)).functions.length).toBeGreaterThan(0);
      } catch (error) {
        expect(error).toBeInstanceOf(ParseError);
      }
    }
  };

  const address = (n: number): string =>
    `${(n >> 12).toString(16).padStart(4, "0")}:${((n >> 4) & 0xff).toString(16).padStart(2, "0")}:${(n & 0xf).toString(16).padStart(2, "0")}.0`;
  const repeat = (count: number, line: (n: number) => string): string =>
    Array.from({ length: count }, (_, n) => line(n)).join("\n");

  it.each<[string, (size: number) => string]>([
    ["functions", (size) => repeat(size, (n) => `${address(n)} VGA: x\n\tFlags: x\n`)],
    [
      "bridges that claim all buses",
      (size) =>
        repeat(
          size,
          (n) =>
            `${address(n)} PCI bridge: x\n\tBus: primary=00, secondary=${((n % 255) + 1).toString(16).padStart(2, "0")}, subordinate=ff\n`,
        ),
    ],
    [
      "physical functions that claim all VFs",
      (size) =>
        repeat(
          size,
          (n) =>
            `${address(n)} NIC: x\n\tCapabilities: [160 v1] Single Root I/O Virtualization\n\t\tInitial VFs: 9, Number of VFs: 65535\n\t\tVF offset: 1, stride: 1\n`,
        ),
    ],
    [
      "the same function again and again",
      (size) => repeat(size, () => `00:00.0 Host bridge: ${"x ".repeat(20)}\n`),
    ],
    ["one long header", (size) => `00:00.0 Host bridge: ${"word ".repeat(size * 20)}`],
    ["one long line of spaces", (size) => " ".repeat(size * 50)],
    ["blank lines", (size) => `${"\n".repeat(size * 50)}x`],
    ["quotes", (size) => `x${"> ".repeat(size * 50)}`],
    ["tags that never end", (size) => "<system ".repeat(size * 5)],
    ["ACS flags", (size) => `00:00.0 x: y\n\tACSCtl: ${"ReqRedir+ ".repeat(size * 10)}`],
    ["open brackets of JSON", (size) => `{"kind": ${"[".repeat(size * 20)}`],
  ])(
    "%s",
    (_, make) => {
      ends(make);
    },
    60_000,
  );
});
