import { describe, expect, it } from "vitest";
import { computeIommuGroups, KERNEL_ACS, P2pdma, type PciFunctionInfo } from "../src/index.js";
import { readTopology } from "../src/node.js";
import { expectedMeta, expectedPairs, hasShared, machines, SHARED } from "./shared-topologies.js";

/** Machines whose pair list holds base classes 01, 02, 03 and 12 only (topologies README, column "pairs from"). */
const p2pClasses = new Set([0x01, 0x02, 0x03, 0x12]);
const narrowed = /^(?:spr-2s|bdw-2s|hsw-2s|snb-2s)/;

const typeNames: Readonly<Record<string, string>> = {
  none: "conventional",
  "switch-upstream": "upstream-port",
  "switch-downstream": "downstream-port",
  "pcie-to-pci": "pcie-to-pci-bridge",
};

function acsText(fn: PciFunctionInfo): string | null {
  if (fn.acs.state === "none") return null;
  if (fn.acs.state === "unknown") return "unknown";
  return `0x${fn.acs.control.toString(16).padStart(4, "0")}`;
}

describe.skipIf(!hasShared())("real machines answer as the independent oracle says", () => {
  for (const machine of machines()) {
    it(`${machine}: every function is understood the same way`, async () => {
      const topology = await readTopology(SHARED + machine);
      const meta = expectedMeta(machine);
      const seen = topology.functions.map((fn) => ({
        bdf: fn.address,
        bridge: fn.headerType === 1 || fn.headerType === 2,
        type: fn.portType === undefined ? "unknown" : (typeNames[fn.portType] ?? fn.portType),
        parent: topology.functions[fn.parent]?.address ?? null,
        root: rootOf(topology.hostBridges[fn.hostBridge]),
        acsCtl: acsText(fn),
        physfn: topology.functions[fn.physfn]?.address ?? null,
      }));
      expect(seen).toEqual(
        meta.functions.map(({ bdf, bridge, type, parent, root, acsCtl, physfn }) => ({
          bdf,
          bridge,
          type,
          parent,
          root,
          acsCtl,
          physfn,
        })),
      );
    });

    it(`${machine}: IDs agree wherever the oracle has them`, async () => {
      const topology = await readTopology(SHARED + machine);
      for (const { bdf, id } of expectedMeta(machine).functions) {
        const fn = topology.get(bdf);
        const [vendor, device] = id.split(":");
        if (fn?.vendorId !== undefined && vendor !== "????") {
          expect(fn.vendorId.toString(16).padStart(4, "0"), bdf).toBe(vendor);
        }
        if (fn?.deviceId !== undefined && device !== "????") {
          expect(fn.deviceId.toString(16).padStart(4, "0"), bdf).toBe(device);
        }
      }
    });

    it(`${machine}: IOMMU groups are as the kernel formed them, where the listing shows them`, async () => {
      const topology = await readTopology(SHARED + machine);
      if (topology.functions.every((fn) => fn.iommuGroup === undefined)) {
        console.log(`${machine}: shows no IOMMU groups`);
        return;
      }
      const groups = new Map<number, string[]>();
      for (const { iommuGroup, address } of topology.functions) {
        // An IOMMU is in no group of its own.
        if (iommuGroup === undefined) continue;
        groups.set(iommuGroup, [...(groups.get(iommuGroup) ?? []), address]);
      }
      // Where ACS is not shown, groups were on: the kernel had set its default (p2pdma R33).
      const computed = computeIommuGroups(topology, (index) => {
        const { acs } = topology.at(index);
        return acs.state === "unknown"
          ? { state: "present", control: KERNEL_ACS, capability: KERNEL_ACS }
          : acs;
      });
      const names = computed.groups.map((members) =>
        members
          .map((index) => topology.at(index))
          .filter((fn) => fn.iommuGroup !== undefined)
          .map((fn) => fn.address),
      );
      expect(new Set(names.map(String).filter((text) => text !== ""))).toEqual(
        new Set([...groups.values()].map(String)),
      );
    });

    for (const cpu of ["intel", "amd-zen"] as const) {
      it(`${machine}: every pair, ${cpu}`, async () => {
        const topology = await readTopology(SHARED + machine);
        const p2pdma = new P2pdma(topology, { cpu });
        const pairs = expectedPairs(machine, cpu);
        const endpoints = topology
          .endpoints()
          .filter((fn) => !narrowed.test(machine) || p2pClasses.has((fn.classCode ?? 0) >>> 16));
        expect(pairs.length).toBe(endpoints.length ** 2);
        const wrong: unknown[] = [];
        for (const pair of pairs) {
          const answer = p2pdma.decide(pair.provider, pair.client);
          const flagged = pair.acsUnknown !== undefined || pair.hostBridgeUnknown === true;
          const expected = {
            provider: pair.provider,
            client: pair.client,
            mapType: pair.hostBridgeUnknown === true ? "unknown" : pair.mapType,
            distance: pair.distance,
            acs: pair.acs,
            acsUnknown: pair.acsUnknown ?? [],
            hostBridgeUnknown: pair.hostBridgeUnknown ?? false,
          };
          const got = {
            provider: answer.provider,
            client: answer.client,
            // Without a mark of the oracle the answer itself must be certain, not only the best guess.
            mapType:
              pair.hostBridgeUnknown === true || !flagged ? answer.mapType : answer.mapTypeAsShown,
            distance: answer.distance,
            acs: answer.acsRedirect,
            acsUnknown: answer.acsUnknown ?? [],
            hostBridgeUnknown: answer.hostBridgeUnknown ?? false,
          };
          if (JSON.stringify(got) !== JSON.stringify(expected)) wrong.push({ got, expected });
        }
        expect(wrong.slice(0, 5), `${wrong.length.toString()} pairs differ`).toEqual([]);
      });
    }
  }
});

function rootOf(host: { domain: number; bus: number } | undefined): string {
  if (host === undefined) return "?";
  return `${host.domain.toString(16).padStart(4, "0")}:${host.bus.toString(16).padStart(2, "0")}`;
}
