import {
  busAddr,
  type DmaAddr,
  DmaBufError,
  type ObjectWatch,
  PAGE_SIZE,
  throwIfAborted,
} from "@peerbar/core";
import type { SimBar } from "../bar.js";
import { watchMemory } from "../memory-watch.js";
import type { SimFunction } from "../sim-function.js";
import { SparseMemory } from "../sparse-memory.js";
import { DeviceLife } from "./device-life.js";
import {
  adminOpcodes,
  COMPLETION_BYTES,
  decodeCommand,
  ioOpcodes,
  type NvmeCommand,
  nvmeStatus,
  SUBMISSION_BYTES,
} from "./nvme-command.js";
import { prpSegments } from "./prp.js";
import { WorkLoop } from "./work-loop.js";

const CAP = 0x00;
const CC = 0x14;
const CSTS = 0x1c;
const AQA = 0x24;
const ASQ = 0x28;
const ACQ = 0x30;
const DOORBELLS = 0x1000;
const READY = 1;
const FATAL = 2;
const MAX_QUEUES = 64;

/** Shape of the one namespace. */
export interface NvmeOptions {
  /** Blocks of the one namespace. Default 2^31: 1 TiB that costs only what is written. */
  readonly blocks?: number | undefined;
}

interface CompletionQueue {
  readonly address: DmaAddr;
  readonly size: number;
  tail: number;
  phase: 0 | 1;
}

interface SubmissionQueue {
  readonly address: DmaAddr;
  readonly size: number;
  readonly completion: CompletionQueue;
  head: number;
  tail: number;
}

/** For what one command does: its transfers end with the life that it was begun in. */
interface CommandDma {
  readonly signal: DeviceLife;
}

/** Bytes of a logical block. */
export const NVME_BLOCK = 512;

/**
 * An NVMe-like controller behind BAR 0 of a function: admin and I/O queues in memory, doorbells, PRP lists, one namespace. Queues, lists
 * and data are fetched and stored by the function's DMA engine, so all of them may be in host memory or in a peer's BAR. Data that cannot
 * be moved completes with Data Transfer Error; a queue that cannot be reached is fatal (CSTS.CFS), as on hardware.
 */
export class NvmeController {
  readonly fn: SimFunction;
  /** Blocks of the namespace, of {@link NVME_BLOCK} bytes. */
  readonly blocks: number;
  /** The namespace's contents. */
  readonly media: SparseMemory;
  readonly #bar: SimBar;
  readonly #loop: WorkLoop;
  /** Stands for the queues. */
  readonly #watch: ObjectWatch | undefined;
  readonly #submissions = new Map<number, SubmissionQueue>();
  readonly #completions = new Map<number, CompletionQueue>();
  /** Another one after every reset: what was begun before has no effect after. */
  #life: DeviceLife;

  /** @throws DmaBufError EINVAL where BAR 0 has no room for the registers; ENODEV where there is none. */
  constructor(fn: SimFunction, options: NvmeOptions = {}) {
    this.fn = fn;
    this.#bar = fn.bar(0);
    if (this.#bar.length < 0x2000n) {
      throw new DmaBufError("EINVAL", "nvme", `BAR 0 of ${fn.name} is smaller than 8 KiB`);
    }
    this.blocks = options.blocks ?? 2 ** 31;
    this.media = new SparseMemory(
      this.blocks * NVME_BLOCK,
      watchMemory(fn.scheduler, `${fn.name} media`),
    );
    this.#watch = fn.scheduler.watch?.object(`${fn.name} queues`);
    this.#life = new DeviceLife(this.#watch);
    this.#loop = new WorkLoop(fn.name, fn.scheduler, () => this.#next());
    this.#bar.onWrite = this.#written.bind(this);
    fn.onReset = this.#disable.bind(this);
    this.#setCapabilities();
  }

  /** Resolves when every command that was rung for is complete. */
  idle(): Promise<void> {
    return this.#loop.idle();
  }

  get ready(): boolean {
    return (this.#get32(CSTS) & READY) !== 0;
  }

  #setCapabilities(): void {
    // Queues of 1024 entries, contiguous; NVM command set.
    this.#set32(CAP, 1023 | (1 << 16));
    this.#set32(CAP + 4, 1 << 5);
    this.#set32(0x08, 0x0001_0400);
  }

  #written(offset: number, length: number): void {
    this.#watch?.touch(true);
    const end = offset + length;
    if (offset < CC) this.#setCapabilities();
    if (offset < CC + 4 && end > CC) this.#configure();
    if (end <= DOORBELLS) return;
    for (const [id, queue] of this.#submissions) {
      const at = DOORBELLS + 8 * id;
      if (offset < at + 4 && end > at) queue.tail = this.#get32(at) % queue.size;
    }
    this.#loop.kick();
  }

  #configure(): void {
    const enabled = (this.#get32(CC) & 1) !== 0;
    if (!enabled) this.#disable();
    else if (!this.ready) this.#enable();
  }

  #enable(): void {
    const sizes = this.#get32(AQA);
    const completion: CompletionQueue = {
      address: this.#getAddress(ACQ),
      size: ((sizes >>> 16) & 0xfff) + 1,
      tail: 0,
      phase: 1,
    };
    this.#completions.set(0, completion);
    this.#submissions.set(0, {
      address: this.#getAddress(ASQ),
      size: (sizes & 0xfff) + 1,
      completion,
      head: 0,
      tail: 0,
    });
    this.#set32(CSTS, READY);
  }

  #disable(): void {
    this.#life.end();
    this.#life = new DeviceLife(this.#watch);
    this.#submissions.clear();
    this.#completions.clear();
    this.#set32(CSTS, 0);
    this.#setCapabilities();
  }

  /** Takes one command from the first queue that has one. */
  async #next(): Promise<boolean> {
    this.#watch?.touch(true);
    for (const [id, queue] of this.#submissions) {
      if (queue.head === queue.tail) continue;
      // Round robin: a queue that was served goes to the end.
      this.#submissions.delete(id);
      this.#submissions.set(id, queue);
      const life = this.#life;
      try {
        return await this.#serve(id, queue, { signal: life });
      } catch (error) {
        if (life.aborted) return true;
        throw error;
      }
    }
    return false;
  }

  /** One command from fetch to completion. False where the controller cannot go on. @throws DmaBufError EINTR after a reset. */
  async #serve(id: number, queue: SubmissionQueue, dma: CommandDma): Promise<boolean> {
    const entry = new Uint8Array(SUBMISSION_BYTES);
    const from = busAddr(queue.address + BigInt(queue.head * SUBMISSION_BYTES));
    const fetched = await this.fn.engine.read(from, entry, dma);
    this.#goOn(dma);
    if (fetched.status !== "ok") return this.#fatal();
    queue.head = (queue.head + 1) % queue.size;
    const command = decodeCommand(entry);
    const status = await (id === 0 ? this.#admin(command, dma) : this.#io(command, dma));
    this.#goOn(dma);
    const told = await this.#complete(id, queue, command.id, status, dma);
    this.#goOn(dma);
    return told || this.#fatal();
  }

  /** After each wait. @throws DmaBufError EINTR where a reset came in between: what follows belongs to the next life. */
  #goOn(dma: CommandDma): void {
    this.#watch?.touch(true);
    throwIfAborted(dma, "nvme");
  }

  #fatal(): false {
    this.#watch?.touch(true);
    this.#set32(CSTS, this.#get32(CSTS) | FATAL);
    this.#submissions.clear();
    return false;
  }

  async #complete(
    id: number,
    { completion, head }: SubmissionQueue,
    command: number,
    status: number,
    dma: CommandDma,
  ): Promise<boolean> {
    const entry = new Uint8Array(COMPLETION_BYTES);
    const view = new DataView(entry.buffer);
    view.setUint32(8, head | (id << 16), true);
    view.setUint32(12, (command | (((status << 1) | completion.phase) << 16)) >>> 0, true);
    const at = busAddr(completion.address + BigInt(completion.tail * COMPLETION_BYTES));
    completion.tail += 1;
    if (completion.tail === completion.size) {
      completion.tail = 0;
      completion.phase = completion.phase === 1 ? 0 : 1;
    }
    return (await this.fn.engine.write(at, entry, dma)).status === "ok";
  }

  async #admin(command: NvmeCommand, dma: CommandDma): Promise<number> {
    const { opcode, dword10, dword11, prp1 } = command;
    const id = dword10 & 0xffff;
    const size = (dword10 >>> 16) + 1;
    switch (opcode) {
      case adminOpcodes.createCompletionQueue:
        if (!this.#isFree(id, this.#completions)) return nvmeStatus.invalidQueueId;
        if (size < 2) return nvmeStatus.invalidQueueSize;
        this.#completions.set(id, { address: prp1, size, tail: 0, phase: 1 });
        return nvmeStatus.success;
      case adminOpcodes.createSubmissionQueue: {
        if (!this.#isFree(id, this.#submissions)) return nvmeStatus.invalidQueueId;
        if (size < 2) return nvmeStatus.invalidQueueSize;
        const completion = this.#completions.get(dword11 >>> 16);
        if (completion === undefined) return nvmeStatus.completionQueueInvalid;
        this.#submissions.set(id, { address: prp1, size, completion, head: 0, tail: 0 });
        return nvmeStatus.success;
      }
      case adminOpcodes.deleteSubmissionQueue:
        return this.#delete(id, this.#submissions);
      case adminOpcodes.deleteCompletionQueue:
        return this.#delete(id, this.#completions);
      case adminOpcodes.identify:
        return this.#identify(command, dma);
      default:
        return nvmeStatus.invalidOpcode;
    }
  }

  #isFree(id: number, queues: ReadonlyMap<number, unknown>): boolean {
    return id > 0 && id < MAX_QUEUES && !queues.has(id);
  }

  #delete(id: number, queues: Map<number, unknown>): number {
    return id > 0 && queues.delete(id) ? nvmeStatus.success : nvmeStatus.invalidQueueId;
  }

  /** Identify namespace (CNS 0): its size; everything else of the page is zero. */
  async #identify(command: NvmeCommand, dma: CommandDma): Promise<number> {
    if ((command.dword10 & 0xff) > 1) return nvmeStatus.invalidField;
    const page = new Uint8Array(PAGE_SIZE);
    const view = new DataView(page.buffer);
    if ((command.dword10 & 0xff) === 0) {
      for (const at of [0, 8, 16]) view.setBigUint64(at, BigInt(this.blocks), true);
      view.setUint32(128, 9 << 16, true);
    }
    const segments = await prpSegments(this.fn.engine, command, PAGE_SIZE, dma);
    if (typeof segments === "number") return segments;
    const { status } = await this.fn.engine.writeList(segments, page, dma);
    return status === "ok" ? nvmeStatus.success : nvmeStatus.dataTransferError;
  }

  async #io(command: NvmeCommand, dma: CommandDma): Promise<number> {
    const { opcode, dword10, dword11, dword12 } = command;
    if (opcode === ioOpcodes.flush) return nvmeStatus.success;
    if (opcode !== ioOpcodes.read && opcode !== ioOpcodes.write) return nvmeStatus.invalidOpcode;
    const first = dword11 * 0x1_0000_0000 + dword10;
    const count = (dword12 & 0xffff) + 1;
    if (first + count > this.blocks) return nvmeStatus.lbaOutOfRange;
    const segments = await prpSegments(this.fn.engine, command, count * NVME_BLOCK, dma);
    if (typeof segments === "number") return segments;
    const bytes = new Uint8Array(count * NVME_BLOCK);
    const { engine } = this.fn;
    if (opcode === ioOpcodes.read) this.media.read(first * NVME_BLOCK, bytes, 0, bytes.length);
    const moved = await (opcode === ioOpcodes.read
      ? engine.writeList(segments, bytes, dma)
      : engine.readList(segments, bytes, dma));
    this.#goOn(dma);
    if (moved.status !== "ok") return nvmeStatus.dataTransferError;
    if (opcode === ioOpcodes.write) this.media.write(first * NVME_BLOCK, bytes, 0, bytes.length);
    return nvmeStatus.success;
  }

  #get32(offset: number): number {
    return new DataView(this.#bar.peek(offset, 4).buffer).getUint32(0, true);
  }

  #getAddress(offset: number): DmaAddr {
    return busAddr(new DataView(this.#bar.peek(offset, 8).buffer).getBigUint64(0, true));
  }

  #set32(offset: number, value: number): void {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setUint32(0, value >>> 0, true);
    this.#bar.poke(offset, bytes);
  }
}
