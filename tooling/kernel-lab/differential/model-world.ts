import {
  type Attachment,
  type DmaBuf,
  DmaBufError,
  type Held,
  type ImporterOps,
  type ScatterEntry,
  type ScatterTable,
} from "@peerbar/core";
import type { P2pdma } from "@peerbar/p2pdma";
import type { Machine } from "@peerbar/pcie-sim";
import { DmaBufUmem, findBestPageSize, MrAccess } from "@peerbar/rdma";
import type { VfioPci, VfioPciDevice } from "@peerbar/vfio-pci";
import type { AttachMode, Entry, ImporterState, Outcome, Step, UmemMode, World } from "./case.js";

const COMMAND = 4;
const MEMORY = 2;
/** Pages of 4 KiB to 2^47 bytes, as the oracle asks the kernel. */
const ALL_PAGE_SIZES = 0xffff_ffff_f000n;

/** An importer as the oracle module has it: unmaps all when invalidated, and counts. */
class ModelImporter {
  readonly buffer: DmaBuf;
  readonly attachment: Attachment;
  readonly tables: ScatterTable[] = [];
  invalidations = 0;

  constructor(buffer: DmaBuf, device: Parameters<DmaBuf["attach"]>[0], mode: AttachMode) {
    this.buffer = buffer;
    this.attachment = buffer.attach(device, this.#ops(mode));
  }

  #ops(mode: AttachMode): ImporterOps | undefined {
    const invalidateMappings = (_attachment: Attachment, held: Held): void => {
      this.invalidations += 1;
      this.unmapAll(held);
    };
    if (mode === "static") return undefined;
    if (mode === "pinned") return { allowPeer2Peer: true };
    return { allowPeer2Peer: mode === "dynamic", invalidateMappings };
  }

  unmapAll(held: Held): void {
    for (const table of this.tables.splice(0)) this.attachment.unmap(table, "bidirectional", held);
  }
}

interface ModelUmem {
  readonly umem: DmaBufUmem;
  callbacks: number;
}

/** The packages of this repository, on the machine that a capture shows. */
export class ModelWorld implements World {
  readonly #machine: Machine;
  readonly #vfio: VfioPci;
  readonly #p2pdma: P2pdma;
  readonly #unresettable: ReadonlySet<string>;
  #provider = "";
  #device: VfioPciDevice | undefined;
  readonly #buffers = new Map<number, DmaBuf>();
  readonly #importers = new Map<number, ModelImporter>();
  readonly #umems = new Map<number, ModelUmem>();

  constructor(machine: Machine, vfio: VfioPci, p2pdma: P2pdma, unresettable: readonly string[]) {
    this.#unresettable = new Set(unresettable);
    this.#machine = machine;
    this.#vfio = vfio;
    this.#p2pdma = p2pdma;
  }

  async open(provider: string): Promise<void> {
    this.#provider = provider;
    this.#device = await this.#vfio.open(this.#machine.function(provider), {
      resettable: !this.#unresettable.has(provider),
    });
  }

  async run(step: Step, index: number): Promise<Outcome> {
    const outcome = await this.#attempt(step, index);
    return { ...outcome, states: this.#states() };
  }

  async end(): Promise<void> {
    for (const { umem } of this.#umems.values()) await umem.release();
    for (const importer of this.#importers.values()) {
      await locked(importer.buffer, (held) => {
        importer.unmapAll(held);
      });
      importer.attachment.detach();
    }
    for (const buffer of this.#buffers.values()) buffer.close();
    await this.#device?.close();
    this.#device = undefined;
    this.#umems.clear();
    this.#importers.clear();
    this.#buffers.clear();
  }

  async #attempt(step: Step, index: number): Promise<Omit<Outcome, "states">> {
    try {
      return await this.#step(step, index);
    } catch (error) {
      if (error instanceof DmaBufError && error.errno !== undefined) return { errno: error.errno };
      throw error;
    }
  }

  async #step(step: Step, index: number): Promise<Omit<Outcome, "states">> {
    switch (step.do) {
      case "export":
        return this.#export(step, index);
      case "attach": {
        const buffer = this.#buffers.get(step.buffer);
        if (buffer === undefined) return {};
        const device = this.#machine.function(step.client);
        this.#importers.set(index, new ModelImporter(buffer, device, step.mode));
        return { errno: 0 };
      }
      case "map":
      case "unmap":
      case "detach":
        return this.#importerStep(step.do, step.attachment);
      case "umem":
        return this.#umem(step, index);
      case "umem-map":
      case "umem-unmap":
      case "umem-page-size":
      case "umem-release":
        return this.#umemStep(step);
      case "distance":
        return { errno: 0, value: this.#p2pdma.distance(this.#provider, [step.client]) };
      case "close":
        await this.#device?.close();
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

  async #export(
    step: Extract<Step, { readonly do: "export" }>,
    index: number,
  ): Promise<Omit<Outcome, "states">> {
    if (this.#device === undefined) return {};
    const ranges = step.ranges.map(([offset, length]) => ({
      offset: BigInt(offset),
      length: BigInt(length),
    }));
    this.#buffers.set(index, await this.#device.exportDmaBuf({ bar: step.bar, ranges }));
    return { errno: 0 };
  }

  async #importerStep(
    what: "map" | "unmap" | "detach",
    step: number,
  ): Promise<Omit<Outcome, "states">> {
    const importer = this.#importers.get(step);
    if (importer === undefined) return {};
    const { attachment, tables, buffer } = importer;
    if (what === "map") {
      const table = await locked(buffer, (held) => attachment.map("bidirectional", held));
      tables.push(table);
      return { errno: 0, entries: entriesOf(table) };
    }
    if (what === "unmap") {
      const table = tables.pop();
      if (table === undefined) return {};
      await locked(buffer, (held) => {
        attachment.unmap(table, "bidirectional", held);
      });
      return { errno: 0 };
    }
    await locked(buffer, (held) => {
      importer.unmapAll(held);
    });
    attachment.detach();
    this.#importers.delete(step);
    return { errno: 0 };
  }

  async #umem(
    step: Extract<Step, { readonly do: "umem" }>,
    index: number,
  ): Promise<Omit<Outcome, "states">> {
    const buffer = this.#buffers.get(step.buffer);
    if (buffer === undefined) return {};
    const made = await this.#register(buffer, step);
    this.#umems.set(index, made);
    return { errno: 0, entries: entriesOf(made.umem.slice ?? []) };
  }

  async #register(
    buffer: DmaBuf,
    step: { client: string; mode: UmemMode; offset: number; length: number },
  ): Promise<ModelUmem> {
    const device = this.#machine.function(step.client);
    const access = MrAccess.LOCAL_WRITE | MrAccess.REMOTE_WRITE | MrAccess.REMOTE_READ;
    const request = { offset: BigInt(step.offset), size: BigInt(step.length), access };
    if (step.mode === "pinned") {
      return { umem: await DmaBufUmem.getPinned(device, buffer, request), callbacks: 0 };
    }
    if (step.mode === "revocable") {
      const { umem, held } = await DmaBufUmem.getPinnedRevocableAndLock(device, buffer, request);
      const made: ModelUmem = { umem, callbacks: 0 };
      umem.setRevokeLocked(held, () => {
        made.callbacks += 1;
      });
      held.release();
      return made;
    }
    const made = { callbacks: 0 };
    const umem = DmaBufUmem.get(device, buffer, request, (self) => ({
      allowPeer2Peer: true,
      invalidateMappings: (_attachment, held) => {
        made.callbacks += 1;
        self.unmapPages(held);
      },
    }));
    return Object.assign(made, { umem });
  }

  async #umemStep(
    step: Extract<Step, { readonly umem: number }>,
  ): Promise<Omit<Outcome, "states">> {
    const made = this.#umems.get(step.umem);
    if (made === undefined) return {};
    const { umem } = made;
    switch (step.do) {
      case "umem-map": {
        const held = await umem.buffer.reservation.lock();
        try {
          return { errno: 0, entries: entriesOf(await umem.mapPages(held)) };
        } finally {
          held.release();
        }
      }
      case "umem-unmap":
        await locked(umem.buffer, (held) => {
          umem.unmapPages(held);
        });
        return { errno: 0 };
      case "umem-release":
        await umem.release();
        this.#umems.delete(step.umem);
        return { errno: 0 };
      case "umem-page-size":
        return pageSize(umem, BigInt(step.virt));
    }
  }

  async #trigger(step: Step): Promise<Omit<Outcome, "states">> {
    const device = this.#device;
    if (device === undefined) return {};
    if (step.do === "memory") {
      const command = device.readConfig(COMMAND, 2);
      await device.writeConfig(COMMAND, 2, step.on ? command | MEMORY : command & ~MEMORY);
    } else if (step.do === "byte-write") {
      await device.writeConfig(COMMAND + 1, 1, device.readConfig(COMMAND + 1, 1));
    } else if (step.do === "power") {
      const at = powerManagement(device);
      if (at !== 0)
        await device.writeConfig(at + 4, 2, (device.readConfig(at + 4, 2) & ~3) | step.state);
    } else if (step.do === "reset") await device.reset();
    else if (step.do === "low-power")
      await (step.enter ? device.enterLowPower() : device.exitLowPower());
    return { errno: 0 };
  }

  #states(): ImporterState[] {
    const states: ImporterState[] = [];
    for (const [step, { invalidations, tables }] of this.#importers) {
      states.push(["attachment", step, invalidations, tables.length]);
    }
    for (const [step, { umem, callbacks }] of this.#umems) {
      states.push([
        "umem",
        step,
        callbacks,
        Number(umem.mapped),
        Number(umem.pinned),
        Number(umem.revoked),
      ]);
    }
    return states.sort((a, b) => a[1] - b[1]);
  }
}

function pageSize(umem: DmaBufUmem, virt: bigint): Omit<Outcome, "states"> {
  const { slice } = umem;
  if (slice === undefined) return { errno: -22 };
  return {
    errno: 0,
    value: Number(findBestPageSize(slice, umem.address, virt, umem.length, ALL_PAGE_SIZES)),
  };
}

function powerManagement(device: VfioPciDevice): number {
  let at = device.readConfig(0x34, 1) & 0xfc;
  for (let left = 48; at !== 0 && left > 0; left--) {
    if (device.readConfig(at, 1) === 1) return at;
    at = device.readConfig(at + 1, 1) & 0xfc;
  }
  return 0;
}

async function locked<T>(buffer: DmaBuf, act: (held: Held) => T): Promise<T> {
  const held = await buffer.reservation.lock();
  try {
    return act(held);
  } finally {
    held.release();
  }
}

function entriesOf(table: Iterable<ScatterEntry>): Entry[] {
  return [...table].map(({ address, length }): Entry => [address.toString(16), length]);
}
