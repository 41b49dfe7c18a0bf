/** Inside the machine: asks the kernel all cases of a seed, and leaves the answers in the job's folder. */
import { readFileSync, writeFileSync } from "node:fs";
import { toCapture } from "@peerbar/p2pdma";
import { liveTopology } from "@peerbar/p2pdma/node";
import { Oracle } from "../lab/oracle-client.js";
import { type AnsweredCase, type Answers, runCase } from "./case.js";
import { generateCase } from "./generate.js";
import { KernelDevice } from "./kernel-device.js";
import { KernelWorld } from "./kernel-world.js";
import { subjectsOf } from "./subjects.js";

const {
  PEERBAR_LAB_MACHINE: machine = "",
  PEERBAR_LAB_IOMMU: iommu = "",
  PEERBAR_LAB_CASES: cases = "100",
  PEERBAR_LAB_SEED: seed = "1",
} = process.env;
const first = Number(seed);

const topology = liveTopology();
const subjects = subjectsOf(topology);
const distances: Record<string, number> = {};
const domains: Record<string, string> = {};
const masks: Record<string, string> = {};
{
  using oracle = new Oracle();
  for (const provider of topology.functions) {
    for (const client of topology.functions) {
      distances[`${provider.address} ${client.address}`] = oracle.distance(
        provider.address,
        client.address,
      );
    }
  }
  for (const client of subjects.clients) {
    oracle.ask(`mask ${client} 64`);
    const { words } = oracle.ask(`domain ${client}`);
    domains[client] = words[0] ?? "";
    masks[client] = words[2] ?? "";
  }
}
// Linux 7.2 maps a range above 0xfffff000 bytes in one piece and unmaps it in several (vfio-pci-dmabuf R38, known-bugs B11).
writeFileSync("/dev/kmsg", "peerbar-lab: allow frees DMA memory with different size\n");
// Behind virtio-iommu several ranges are linked over each other without an error, and unmapping them does not come out even (B9).
if (iommu === "virtio") {
  writeFileSync("/dev/kmsg", "peerbar-lab: allow __iommu_dma_iova_unlink\n");
}

const withIommu = iommu !== "none" && iommu !== "off";
const unresettable = subjects.providers
  .map(({ address }) => address)
  .filter((address) => !resets(address));
const world = new KernelWorld(withIommu);
const answered: AnsweredCase[] = [];
for (let index = 0; index < Number(cases); index++) {
  const subject = generateCase(first + index, subjects);
  answered.push({ ...subject, outcomes: await runCase(world, subject) });
  if (index % 50 === 49) console.error(`${String(index + 1)} cases`);
}

const answers: Answers = {
  schemaVersion: 1,
  machine,
  iommu,
  kernel: readFileSync("/proc/sys/kernel/osrelease", "utf8").trim(),
  seed: first,
  capture: toCapture(topology),
  distances,
  domains,
  unresettable,
  masks,
  cases: answered,
};
writeFileSync("/run/lab/answers.json", JSON.stringify(answers));
console.log(
  `${machine}: ${String(answered.length)} cases asked, seeds ${seed} to ${String(first + answered.length - 1)}`,
);

function resets(address: string): boolean {
  const device = new KernelDevice(address, withIommu);
  try {
    return device.canReset();
  } finally {
    device.close();
  }
}
