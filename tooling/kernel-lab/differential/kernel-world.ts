import { DmaBufError } from "@peerbar/core";
import { close } from "@peerbar/linux";
import { type Answer, Oracle } from "../lab/oracle-client.js";
import type { Entry, ImporterState, Outcome, Step, World } from "./case.js";
import { KernelDevice } from "./kernel-device.js";

/** What a step left in the kernel, by the step's number. */
interface Left {
  readonly buffers: Map<number, number>;
  /** Oracle ids, with the mapping ids that are live as far as the user knows. */
  readonly attachments: Map<number, { readonly id: number; readonly mappings: number[] }>;
  readonly umems: Map<number, number>;
}

const ALL_PAGE_SIZES = "fffffffff000";

/** The running kernel: vfio by ioctl, importers by the oracle module. */
export class KernelWorld implements World {
  readonly #withIommu: boolean;
  #provider = "";
  #oracle: Oracle | undefined;
  #device: KernelDevice | undefined;
  #left: Left = { buffers: new Map(), attachments: new Map(), umems: new Map() };

  constructor(withIommu: boolean) {
    this.#withIommu = withIommu;
  }

  open(provider: string): Promise<void> {
    this.#provider = provider;
    this.#oracle = new Oracle();
    this.#device = new KernelDevice(provider, this.#withIommu);
    this.#left = { buffers: new Map(), attachments: new Map(), umems: new Map() };
    return Promise.resolve();
  }

  run(step: Step, index: number): Promise<Outcome> {
    const oracle = this.#oracle;
    if (oracle === undefined) throw new Error("no case is open");
    const answer = this.#step(step, index, oracle);
    return Promise.resolve({ ...answer, states: this.#states(oracle) });
  }

  end(): Promise<void> {
    for (const fd of this.#left.buffers.values()) close(fd);
    this.#oracle?.[Symbol.dispose]();
    this.#oracle = undefined;
    this.#device?.close();
    this.#device = undefined;
    return Promise.resolve();
  }

  #step(step: Step, index: number, oracle: Oracle): Omit<Outcome, "states"> {
    const { buffers, attachments, umems } = this.#left;
    switch (step.do) {
      case "export":
        return this.#onDevice((device) => {
          buffers.set(index, device.exportDmaBuf(step.bar, step.ranges));
        });
      case "attach": {
        const fd = buffers.get(step.buffer);
        if (fd === undefined) return {};
        const { errno, words } = oracle.ask(`attach ${String(fd)} ${step.client} ${step.mode}`);
        if (errno === 0) attachments.set(index, { id: Number(words[0]), mappings: [] });
        return { errno };
      }
      case "map": {
        const attachment = attachments.get(step.attachment);
        if (attachment === undefined) return {};
        const answer = oracle.map(attachment.id);
        if (answer.errno === 0) attachment.mappings.push(Number(answer.words[0]));
        return withEntries(answer);
      }
      case "unmap": {
        const attachment = attachments.get(step.attachment);
        const mapping = attachment?.mappings.pop();
        if (attachment === undefined || mapping === undefined) return {};
        return { errno: oracle.unmap(attachment.id, mapping) };
      }
      case "detach": {
        const attachment = attachments.get(step.attachment);
        if (attachment === undefined) return {};
        attachments.delete(step.attachment);
        return { errno: oracle.detach(attachment.id) };
      }
      case "umem": {
        const fd = buffers.get(step.buffer);
        if (fd === undefined) return {};
        const slice = `${step.offset.toString(16)} ${step.length.toString(16)}`;
        const answer = oracle.ask(`umem ${String(fd)} ${step.client} ${step.mode} ${slice}`);
        if (answer.errno === 0) umems.set(index, Number(answer.words[0]));
        return withEntries(answer);
      }
      case "umem-map":
      case "umem-unmap":
      case "umem-page-size":
      case "umem-release":
        return this.#umemStep(step, oracle);
      case "distance":
        return { errno: 0, value: oracle.distance(this.#provider, step.client) };
      case "close":
        this.#device?.close();
        this.#device = undefined;
        return { errno: 0 };
      case "memory":
      case "power":
      case "byte-write":
      case "reset":
      case "low-power":
        return this.#trigger(step);
    }
  }

  #umemStep(
    step: Extract<Step, { readonly umem: number }>,
    oracle: Oracle,
  ): Omit<Outcome, "states"> {
    const id = this.#left.umems.get(step.umem);
    if (id === undefined) return {};
    if (step.do === "umem-page-size") {
      const { errno, words } = oracle.ask(
        `${step.do} ${String(id)} ${ALL_PAGE_SIZES} ${step.virt.toString(16)}`,
      );
      return errno === 0 ? { errno, value: Number.parseInt(words[0] ?? "0", 16) } : { errno };
    }
    const answer = oracle.ask(`${step.do} ${String(id)}`);
    if (step.do === "umem-release") this.#left.umems.delete(step.umem);
    return step.do === "umem-map" ? withEntries(answer) : { errno: answer.errno };
  }

  #trigger(step: Step): Omit<Outcome, "states"> {
    return this.#onDevice((device) => {
      if (step.do === "memory") device.setMemory(step.on);
      else if (step.do === "power") device.setPower(step.state);
      else if (step.do === "byte-write") device.writeHighCommandByte();
      else if (step.do === "reset") device.reset();
      else if (step.do === "low-power") device.lowPower(step.enter);
      else throw new Error(`no such step: ${step.do}`);
    });
  }

  /** Nothing where the device is closed. */
  #onDevice(act: (device: KernelDevice) => void): Omit<Outcome, "states"> {
    if (this.#device === undefined) return {};
    try {
      act(this.#device);
      return { errno: 0 };
    } catch (error) {
      if (error instanceof DmaBufError && error.errno !== undefined) return { errno: error.errno };
      throw error;
    }
  }

  #states(oracle: Oracle): ImporterState[] {
    const states: ImporterState[] = [];
    for (const [step, { id, mappings }] of this.#left.attachments) {
      const state = oracle.state(id);
      states.push(["attachment", step, state.invalidations, state.mappings]);
      // An invalidation took the rest.
      if (state.mappings === 0) mappings.length = 0;
    }
    for (const [step, id] of this.#left.umems) {
      const { words } = oracle.ask(`umem-state ${String(id)}`);
      states.push(["umem", step, ...[1, 3, 5, 7].map((at) => Number(words[at]))]);
    }
    return states.sort((a, b) => a[1] - b[1]);
  }
}

function withEntries({ errno, entries }: Answer): Omit<Outcome, "states"> {
  if (errno !== 0) return { errno };
  const list = entries.map((entry): Entry => [entry.address.toString(16), entry.length]);
  return { errno, entries: list };
}
