import { type Scenario, type Stage, scenario } from "@peerbar/conformance/explore";
import { addIommufd, addRdma } from "./importers.js";
import { buildMachine, type Machine, memoryOffAndOn } from "./machine.js";

/** What happens to the exporting device while importers are at work. */
const triggers: Readonly<Record<string, (machine: Machine) => Promise<void>>> = {
  reset: ({ gpu }) => gpu.reset(),
  close: ({ gpu }) => gpu.close(),
  "memory off and on": ({ gpu }) => memoryOffAndOn(gpu),
};

/** vfio-pci, an RDMA region that a revoke ends, and an iommufd mapping. */
function everybody(name: string, trigger: (machine: Machine) => Promise<void>): Scenario {
  return scenario(`${name}, rdma and iommufd`, async (stage: Stage) => {
    const machine = await buildMachine(stage);
    addRdma(stage, machine, "pinned-revocable");
    addIommufd(stage, machine);
    stage.actor(name, () => trigger(machine));
  });
}

/** The same against a region that maps again by page faults. */
function pageFaults(name: string, trigger: (machine: Machine) => Promise<void>): Scenario {
  return scenario(`${name} and rdma page faults`, async (stage: Stage) => {
    const machine = await buildMachine(stage);
    addRdma(stage, machine, "dynamic");
    stage.actor(name, () => trigger(machine));
  });
}

/** Scenarios that come with the tool: the packages of peerbar themselves, in the races that matter. */
export const shipped: readonly Scenario[] = Object.entries(triggers).flatMap(([name, trigger]) => [
  everybody(name, trigger),
  pageFaults(name, trigger),
]);
