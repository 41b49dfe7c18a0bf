import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type AcsInfo,
  type CpuKind,
  computeIommuGroups,
  type MapType,
  matrix,
  P2pdma,
  type PciFunctionInfo,
  PciTopology,
  parseTopology,
  toCapture,
} from "../src/index.js";
import { build, plans } from "./arbitrary-machine.js";

const cpus: readonly CpuKind[] = ["intel", "amd-zen", "unknown"];

/** Better is smaller. */
const rank: Readonly<Record<MapType, number>> = {
  "bus-addr": 0,
  "thru-host-bridge": 1,
  "not-supported": 2,
};

/** Some ordered pairs of a machine, spread over all of them. */
function pairsOf(topology: PciTopology): [number, number][] {
  const n = topology.functions.length;
  const step = Math.max(1, Math.floor((n * n) / 150));
  const pairs: [number, number][] = [];
  for (let at = 0; at < n * n; at += step) pairs.push([Math.floor(at / n), at % n]);
  return pairs;
}

function withAcs(topology: PciTopology, change: (acs: AcsInfo) => AcsInfo): PciTopology {
  return withFunctions(
    topology,
    topology.functions.map((fn) => ({ ...fn, acs: change(fn.acs) })),
  );
}

function withFunctions(
  { hostBridges, source }: PciTopology,
  functions: readonly PciFunctionInfo[],
): PciTopology {
  return new PciTopology({ functions, hostBridges, source });
}

/** The chain of a function by its own links: what the answers are checked against. */
function chainOf(topology: PciTopology, index: number): number[] {
  const chain = [index];
  const physfn = topology.functions[index]?.physfn ?? -1;
  let at = topology.functions[physfn >= 0 ? physfn : index]?.parent ?? -1;
  for (; at >= 0; at = topology.functions[at]?.parent ?? -1) chain.push(at);
  return chain;
}

/** calc_map_type_and_dist() line by line, as the specification words it: slow, and the measure of the fast walk. */
function reference(
  topology: PciTopology,
  provider: number,
  client: number,
): { acs: string[]; common: boolean; distance: number } {
  const redirects = (index: number): boolean => {
    const acs = topology.functions[index]?.acs;
    return acs?.state === "present" && (acs.control & 0x2c) !== 0;
  };
  const acs: number[] = [];
  let distA = 0;
  let distB = 0;
  for (const a of chainOf(topology, provider)) {
    if (redirects(a)) acs.push(a);
    distB = 0;
    for (const b of chainOf(topology, client)) {
      if (a === b) {
        for (const c of chainOf(topology, client)) {
          if (c === a) break;
          if (redirects(c)) acs.push(c);
        }
        const names = acs.map((index) => topology.functions[index]?.address ?? "");
        return { acs: names, common: true, distance: distA + distB };
      }
      distB += 1;
    }
    distA += 1;
  }
  return { acs: [], common: false, distance: distA + distB };
}

describe("on generated trees", () => {
  it("distance and redirecting ports are those of the kernel's loop, in its order (p2pdma, section 3)", () => {
    fc.assert(
      fc.property(plans({ unknown: true }), (plan) => {
        const topology = build(plan);
        const p2pdma = new P2pdma(topology, { cpu: "intel" });
        for (const [a, b] of pairsOf(topology)) {
          const expected = reference(topology, a, b);
          const answer = p2pdma.decide(a, b);
          expect(answer.distance).toBe(expected.distance);
          expect(answer.acsRedirect).toEqual(expected.acs);
          expect(answer.commonAncestor !== undefined).toBe(expected.common);
        }
      }),
      { numRuns: 150 },
    );
  });

  it("p2pdma R13: distance is the number of steps on both paths, and never negative", () => {
    fc.assert(
      fc.property(plans({ unknown: false }), (plan) => {
        const topology = build(plan);
        const p2pdma = new P2pdma(topology);
        for (const [a, b] of pairsOf(topology)) {
          const { distance, upPath, downPath, commonAncestor } = p2pdma.decide(a, b);
          const shared = commonAncestor === undefined ? 0 : 1;
          expect(distance).toBe(upPath.length + downPath.length - shared);
          if (a === b) expect(distance).toBe(0);
        }
      }),
      { numRuns: 60 },
    );
  });

  it("map type and distance are the same in both directions, the redirecting ports the same set", () => {
    fc.assert(
      fc.property(plans({ unknown: true }), fc.constantFrom(...cpus), (plan, cpu) => {
        const topology = build(plan);
        const p2pdma = new P2pdma(topology, { cpu });
        for (const [a, b] of pairsOf(topology)) {
          const there = p2pdma.decide(a, b);
          const back = p2pdma.decide(b, a);
          expect([back.mapType, back.distance, back.possible]).toEqual([
            there.mapType,
            there.distance,
            there.possible,
          ]);
          expect([...back.acsRedirect].sort()).toEqual([...there.acsRedirect].sort());
        }
      }),
      { numRuns: 60 },
    );
  });

  it("clearing redirect bits never makes a pair worse", () => {
    fc.assert(
      fc.property(plans({ unknown: false }), fc.constantFrom("intel", "amd-zen"), (plan, cpu) => {
        const topology = build(plan);
        const cleared = withAcs(topology, (acs) =>
          acs.state === "present" ? { ...acs, control: acs.control & ~0x2c } : acs,
        );
        const before = new P2pdma(topology, { cpu });
        const after = new P2pdma(cleared, { cpu });
        for (const [a, b] of pairsOf(topology)) {
          const worse = after.decide(a, b).mapTypeAsShown;
          expect(rank[worse]).toBeLessThanOrEqual(rank[before.decide(a, b).mapTypeAsShown]);
        }
      }),
      { numRuns: 60 },
    );
  });

  it("a trusted CPU, which is every host bridge on the list, never makes a pair worse", () => {
    fc.assert(
      fc.property(plans({ unknown: false }), (plan) => {
        const topology = build(plan);
        const before = new P2pdma(topology, { cpu: "intel" });
        const after = new P2pdma(topology, { cpu: "amd-zen" });
        for (const [a, b] of pairsOf(topology)) {
          const trusted = after.decide(a, b).mapTypeAsShown;
          expect(trusted).not.toBe("not-supported");
          expect(rank[trusted]).toBeLessThanOrEqual(rank[before.decide(a, b).mapTypeAsShown]);
        }
      }),
      { numRuns: 60 },
    );
  });

  it("putting one host bridge on the list never makes a pair worse", () => {
    fc.assert(
      fc.property(plans({ unknown: false }), fc.nat(), (plan, pick) => {
        const topology = build(plan);
        const bridge = topology.hostBridges[pick % topology.hostBridges.length];
        const listed = withFunctions(
          topology,
          topology.functions.map((fn, index) =>
            index === bridge?.first ? { ...fn, vendorId: 0x8086, deviceId: 0x09a2 } : fn,
          ),
        );
        const before = new P2pdma(topology, { cpu: "intel" });
        const after = new P2pdma(listed, { cpu: "intel" });
        for (const [a, b] of pairsOf(topology)) {
          const better = after.decide(a, b).mapTypeAsShown;
          expect(rank[better]).toBeLessThanOrEqual(rank[before.decide(a, b).mapTypeAsShown]);
        }
      }),
      { numRuns: 60 },
    );
  });

  it("p2pdma R29: whatever the unknown ACS turns out to be, the answer is one of `possible`, and each can occur", () => {
    fc.assert(
      fc.property(plans({ unknown: true }), fc.constantFrom(...cpus), (plan, cpu) => {
        const topology = build(plan);
        const asked = new P2pdma(topology, { cpu });
        const filled = [0, 0x04].map((control) =>
          withAcs(topology, (acs) =>
            acs.state === "unknown" ? { state: "present", control, capability: 0x7f } : acs,
          ),
        );
        const possibleCpus: readonly CpuKind[] = cpu === "unknown" ? ["intel", "amd-zen"] : [cpu];
        const worlds = filled.flatMap((world) =>
          possibleCpus.map((kind) => new P2pdma(world, { cpu: kind })),
        );
        for (const [a, b] of pairsOf(topology)) {
          const { mapType, possible } = asked.decide(a, b);
          const answers = new Set(worlds.map((world) => world.decide(a, b).mapType));
          expect(new Set(possible ?? [mapType])).toEqual(answers);
        }
      }),
      { numRuns: 100 },
    );
  });

  it("the matrix says for every pair what the decision says", () => {
    fc.assert(
      fc.property(plans({ unknown: true }), fc.constantFrom(...cpus), (plan, cpu) => {
        const topology = build(plan);
        const p2pdma = new P2pdma(topology, { cpu });
        const all = matrix(
          p2pdma,
          topology.functions.map((_, index) => index),
        );
        for (const [a, b] of pairsOf(topology)) {
          const decision = p2pdma.decide(a, b);
          expect([all.mapTypeAt(a, b), all.distanceAt(a, b)]).toEqual([
            decision.mapType,
            decision.distance,
          ]);
        }
      }),
      { numRuns: 80 },
    );
  });

  it("a capture gives the same topology back", () => {
    fc.assert(
      fc.property(plans({ unknown: true }), (plan) => {
        const topology = build(plan);
        const text = toCapture(topology);
        const again = parseTopology(text);
        expect(again.functions).toEqual(topology.functions);
        expect(again.hostBridges).toEqual(topology.hostBridges);
        expect(toCapture(again)).toBe(text);
      }),
      { numRuns: 60 },
    );
  });

  it("IOMMU groups are a partition, and clearing ACS only ever joins them", () => {
    fc.assert(
      fc.property(plans({ unknown: false }), (plan) => {
        const topology = build(plan);
        const before = computeIommuGroups(topology);
        expect(before.groups.flat().sort((a, b) => a - b)).toEqual(
          topology.functions.map((_, index) => index),
        );
        const cleared = withAcs(topology, (acs) =>
          acs.state === "present" ? { ...acs, control: acs.control & ~0x2c } : acs,
        );
        const after = computeIommuGroups(cleared);
        for (const members of before.groups) {
          expect(new Set(members.map((index) => after.groupOf[index])).size).toBe(1);
        }
      }),
      { numRuns: 80 },
    );
  });
});
