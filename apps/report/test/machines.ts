import { existsSync } from "node:fs";
import { generateServer, inferCpu, type PciTopology, shippedCaptures } from "@peerbar/p2pdma";
import { readTopology } from "@peerbar/p2pdma/node";
import { topologies } from "@peerbar/vitest-config/topologies";
import { type EpisodeData, type ReportData, renderReport } from "../src/render.js";

/** A capture that ships with the tool. */
export function shipped(name = "gpu-server-2s.json"): PciTopology {
  const make = shippedCaptures[name];
  if (make === undefined) throw new Error(`${name} does not ship`);
  return make();
}

/** The data of a page about a machine. */
export function dataOf(topology: PciTopology, more: Partial<ReportData> = {}): ReportData {
  const { cpu, evidence } = inferCpu(topology);
  return { schemaVersion: 1, cpu, cpuEvidence: evidence, ...more };
}

export function pageOf(
  template: string,
  topology: PciTopology,
  more: Partial<ReportData> = {},
): string {
  return renderReport(template, topology, dataOf(topology, more));
}

/** Three machines for the eye: real ones where they are at hand, else generated ones. */
export async function threeMachines(): Promise<
  readonly { readonly name: string; readonly topology: PciTopology }[]
> {
  const real = [
    "spr-2s-8xh800-vfs.lspci-vv.txt",
    "bdw-2s-p100.lspci-vvv.txt",
    "adl-laptop-acs-redirect.lspci-vvvxxxx.txt",
  ];
  if (real.every((name) => existsSync(`${topologies}${name}`))) {
    return await Promise.all(
      real.map(async (name) => ({
        name: name.replace(/\..*/, ""),
        topology: await readTopology(`${topologies}${name}`),
      })),
    );
  }
  return [
    { name: "gpu-server-2s", topology: shipped() },
    { name: "gpu-server-1s-acs", topology: shipped("gpu-server-1s-acs.json") },
    { name: "server-200-vfs", topology: generateServer({ name: "server-200-vfs", vfs: 100 }) },
  ];
}

/** A short run, with a refusal and a fault in it. */
export const episode: EpisodeData = {
  title: "a run",
  outcome: "all 2 checks in 2 steps passed",
  ok: true,
  trace: "run.trace.json",
  steps: [
    { title: "export", lines: ["a line"], checks: [{ what: "it is there", ok: true }], first: 0 },
    { title: "reset", lines: [], checks: [{ what: "it is void", ok: true }], first: 5 },
  ],
  events: [
    { type: "export", buffer: "bar #1", inode: 1, exporter: "vfio_pci_core", size: "0x1000" },
    { type: "attach", buffer: "bar #1", inode: 1, attachment: "a.1", device: "a", kind: "dynamic" },
    { type: "lock", lock: "bar #1" },
    {
      type: "map",
      buffer: "bar #1",
      inode: 1,
      attachment: "a.1",
      mapping: 1,
      entries: 1,
      size: "0x1000",
      first: "0x2000",
      space: "bus",
    },
    { type: "unlock", lock: "bar #1" },
    { type: "revoke", buffer: "bar #1", inode: 1 },
    { type: "unmap", buffer: "bar #1", inode: 1, attachment: "a.1", mapping: 1 },
    { type: "iommu-fault", device: "a", iova: "0x1000", access: "w", reason: "not-present" },
    { type: "somebody-elses", weight: 3 },
  ],
};
