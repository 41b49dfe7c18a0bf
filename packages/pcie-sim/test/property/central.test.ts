import { generateServer, type PciTopology } from "@peerbar/p2pdma";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Named, named, randomTopology } from "./random-tree.js";
import { type Mutant, makeWorld, shareAndCheck, type Verdict, type WorldOptions } from "./share.js";
import { type Pick, pick, shareOf } from "./shares.js";

const mode = fc.constantFrom(
  "dma" as const,
  "dma-fq" as const,
  "passthrough" as const,
  "off" as const,
);
const cpu = fc.constantFrom("intel" as const, "amd-zen" as const);

/** Servers whose host bridges translate: bus addresses above all CPU addresses, as a platform must have it. */
const server: fc.Arbitrary<Named> = fc
  .record({
    acs: fc.constantFrom("on" as const, "off" as const, "mixed" as const),
    hostBridges: fc.constantFrom(
      "listed" as const,
      "same-only" as const,
      "unlisted" as const,
      "mixed" as const,
    ),
    vfs: fc.constantFrom(0, 2),
    busOffset: fc.constantFrom(0n, 0x1_0000_0000_0000n),
    seed: fc.nat(1000),
  })
  .map((options) => named(generateServer(options)));

async function run(
  topology: PciTopology,
  options: WorldOptions,
  picks: readonly Pick[],
): Promise<Verdict[]> {
  const world = makeWorld(topology, options);
  const verdicts: Verdict[] = [];
  for (const one of picks) {
    const share = shareOf(world, one);
    if (share !== undefined) verdicts.push(await shareAndCheck(world, share));
  }
  expect(world.iommu.usage.mappedGranules).toBe(0);
  expect(world.iommu.faults.size).toBe(0);
  return verdicts;
}

const picks = fc.array(pick, { minLength: 1, maxLength: 8 });

describe("a mapping made by the exporter's rules leads every byte to the right place, or is refused", () => {
  it("on random trees with any mix of ACS", async () => {
    const seen = { refused: 0, moved: 0, stopped: 0 };
    await fc.assert(
      fc.asyncProperty(randomTopology, mode, cpu, picks, async ({ topology }, m, c, list) => {
        for (const verdict of await run(topology, { mode: m, cpu: c }, list)) seen[verdict] += 1;
      }),
      { numRuns: 200 },
    );
    expect(seen.moved).toBeGreaterThan(100);
    expect(seen.refused).toBeGreaterThan(0);
  }, 60_000);

  it("on generated servers, with host bridges that translate addresses and virtual functions", async () => {
    const seen = { refused: 0, moved: 0, stopped: 0 };
    await fc.assert(
      fc.asyncProperty(server, mode, cpu, picks, async ({ topology }, m, c, list) => {
        for (const verdict of await run(topology, { mode: m, cpu: c }, list)) seen[verdict] += 1;
      }),
      { numRuns: 40 },
    );
    expect(seen.moved).toBeGreaterThan(40);
  }, 60_000);

  it.each<[Mutant, "dma"]>([
    ["ignore-acs", "dma"],
    ["ignore-bus-offset", "dma"],
    ["wrong-iova-offset", "dma"],
  ])(
    "fails for the mutant %s",
    async (mutant, iommu) => {
      const result = await fc.check(
        fc.asyncProperty(server, cpu, picks, async ({ topology }, c, list) => {
          await run(topology, { mode: iommu, cpu: c, mutant }, list);
        }),
        { numRuns: 100 },
      );
      expect(result.failed).toBe(true);
      expect(String(result.errorInstance)).toMatch(/BAR \d \[/);
    },
    60_000,
  );

  it.each(["block", "corrupt"] as const)(
    "fails where host bridges %s what p2pdma trusts them with",
    async (forwarding) => {
      const result = await fc.check(
        fc.asyncProperty(server, picks, async ({ topology }, list) => {
          await run(topology, { mode: "dma", cpu: "amd-zen", forwarding }, list);
        }),
        { numRuns: 100 },
      );
      expect(result.failed).toBe(true);
      expect(String(result.errorInstance)).toMatch(
        forwarding === "block" ? "unsupported-request" : "bytes are in the wrong place",
      );
    },
    60_000,
  );
});
