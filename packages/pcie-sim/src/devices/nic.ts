import {
  busAddr,
  type DmaAddr,
  DmaBufError,
  type DmaCompletion,
  type ObjectWatch,
} from "@peerbar/core";
import type { SimBar } from "../bar.js";
import type { SimFunction } from "../sim-function.js";
import type { DmaOptions } from "../transfer.js";
import { DeviceLife } from "./device-life.js";
import { watchedMap } from "./watched-map.js";
import { WorkLoop } from "./work-loop.js";
import {
  CQE_BYTES,
  decodeReceive,
  decodeWork,
  encodeCompletion,
  type KeyedRange,
  type NicKey,
  nicOpcodes,
  nicStatus,
  RECEIVE_BYTES,
  segmentsOf,
  WORK_BYTES,
  type WorkRequest,
} from "./work-request.js";

/** Doorbells in BAR 0: 16 bytes a queue, send producer index first, receive producer index after it. */
const DOORBELLS = 0x1000;
const DOORBELL_BYTES = 16;
const MAX_QUEUES = 256;
/** Longest message, in bytes, as RDMA NICs have it. */
const MAX_MESSAGE = 0x4000_0000;

/** Where a queue pair's rings are, and how long: addresses for the NIC's DMA. */
export interface QueuePairSetup {
  /** Ring of 64-byte work requests, as DMA addresses of this NIC. */
  readonly send: DmaAddr;
  /** Ring of 32-byte receive entries; needed for `send` of the other side. */
  readonly receive?: DmaAddr | undefined;
  /** Ring of 32-byte completions. */
  readonly completion: DmaAddr;
  /** Entries of each ring: a power of two, at most 32768. */
  readonly depth: number;
}

interface QueuePair extends QueuePairSetup {
  readonly number: number;
  peer: { readonly nic: Nic; readonly queue: number } | undefined;
  sent: number;
  posted: number;
  taken: number;
  offered: number;
  completed: number;
  broken: boolean;
}

/**
 * An RDMA NIC of the simplest kind: queue pairs with rings in memory, doorbells in BAR 0, keys that map ranges to DMA segments. Two of them
 * joined by {@link Nic.connect} move bytes from one's keys to the other's. Keys and queues are set up by calls, as a driver's command
 * queue would; the rest goes through memory and the function's DMA engine.
 *
 * A failed request completes with its status and breaks the queue pair: what follows is flushed, as verbs have it.
 */
export class Nic {
  readonly fn: SimFunction;
  /**
   * By key. Taking one away makes later requests fail. A request that runs goes on with the addresses it has: who revokes waits for
   * {@link idle} before the memory may change hands.
   */
  readonly keys: Map<number, NicKey>;
  readonly #bar: SimBar;
  readonly #queues = new Map<number, QueuePair>();
  readonly #loop: WorkLoop;
  /** Stands for the queue pairs. */
  readonly #watch: ObjectWatch | undefined;
  /** Another one after every reset: what was begun before has no effect after, on either side of the wire. */
  #life: DeviceLife;

  /** @throws DmaBufError EINVAL where BAR 0 has no room for the doorbells; ENODEV where there is none. */
  constructor(fn: SimFunction) {
    this.fn = fn;
    this.#bar = fn.bar(0);
    if (this.#bar.length < BigInt(DOORBELLS + DOORBELL_BYTES * MAX_QUEUES)) {
      throw new DmaBufError("EINVAL", "nic", `BAR 0 of ${fn.name} is smaller than 8 KiB`);
    }
    this.keys = watchedMap(fn.scheduler, `${fn.name} keys`);
    this.#watch = fn.scheduler.watch?.object(`${fn.name} queues`);
    this.#life = new DeviceLife(this.#watch);
    this.#loop = new WorkLoop(fn.name, fn.scheduler, () => this.#next());
    const written = (offset: number, length: number): void => {
      this.#written(offset, offset + length);
    };
    const reset = (): void => {
      this.#life.end();
      this.#life = new DeviceLife(this.#watch);
      this.#queues.clear();
      this.keys.clear();
    };
    this.#bar.onWrite = written;
    fn.onReset = reset;
  }

  /** Offset in BAR 0 of a queue's send doorbell; the receive doorbell is 4 bytes on. */
  static doorbell(queue: number): number {
    return DOORBELLS + DOORBELL_BYTES * queue;
  }

  /** Joins two queue pairs by a wire. @throws DmaBufError ENOENT where one of them was not created. */
  static connect(a: Nic, queueA: number, b: Nic, queueB: number): void {
    const first = a.#queue(queueA);
    const second = b.#queue(queueB);
    first.peer = { nic: b, queue: queueB };
    second.peer = { nic: a, queue: queueA };
  }

  /** @throws DmaBufError EINVAL for a number that is taken or too large, or rings of no legal depth. */
  createQueuePair(number: number, setup: QueuePairSetup): void {
    const legal = Number.isInteger(number) && number >= 0 && number < MAX_QUEUES;
    // Indexes wrap at 32 bits, so a ring must divide that.
    const { depth } = setup;
    const ring = depth >= 1 && depth <= 0x8000 && (depth & (depth - 1)) === 0;
    if (!legal || this.#queues.has(number) || !ring) {
      throw new DmaBufError("EINVAL", "nic.createQueuePair", `queue pair ${String(number)}`);
    }
    const fresh = { sent: 0, posted: 0, taken: 0, offered: 0, completed: 0, broken: false };
    this.#watch?.touch(true);
    this.#queues.set(number, { ...setup, ...fresh, number, peer: undefined });
  }

  /** Resolves when everything that was rung for is complete. */
  idle(): Promise<void> {
    return this.#loop.idle();
  }

  #queue(number: number): QueuePair {
    this.#watch?.touch(true);
    const queue = this.#queues.get(number);
    if (queue !== undefined) return queue;
    throw new DmaBufError(
      "ENOENT",
      "nic.connect",
      `${this.fn.name} has no queue pair ${String(number)}`,
    );
  }

  #written(first: number, end: number): void {
    this.#watch?.touch(true);
    for (const queue of this.#queues.values()) {
      const at = Nic.doorbell(queue.number);
      if (end <= at || first >= at + 8) continue;
      const view = new DataView(this.#bar.peek(at, 8).buffer);
      queue.posted = view.getUint32(0, true);
      queue.offered = view.getUint32(4, true);
      // A ring that was rung for more than it holds has lost entries.
      const waiting = Math.max(
        (queue.posted - queue.sent) >>> 0,
        (queue.offered - queue.taken) >>> 0,
      );
      if (waiting <= queue.depth) continue;
      queue.broken = true;
      queue.sent = queue.posted;
      queue.taken = queue.offered;
    }
    this.#loop.kick();
  }

  async #next(): Promise<boolean> {
    this.#watch?.touch(true);
    for (const queue of this.#queues.values()) {
      if (queue.sent === queue.posted) continue;
      const life = this.#life;
      const entry = new Uint8Array(WORK_BYTES);
      const slot = queue.sent % queue.depth;
      const at = busAddr(queue.send + BigInt(slot * WORK_BYTES));
      const fetched = await this.fn.engine.read(at, entry);
      this.#watch?.touch(true);
      if (life !== this.#life) return true;
      queue.sent = (queue.sent + 1) >>> 0;
      if (fetched.status !== "ok") {
        queue.broken = true;
        queue.sent = queue.posted;
        return true;
      }
      const request = decodeWork(entry);
      const status = queue.broken ? nicStatus.flushed : await this.#execute(queue, request);
      this.#watch?.touch(true);
      if (life !== this.#life) return true;
      if (status !== nicStatus.success) queue.broken = true;
      await this.#complete(queue, request.id, status, request.local.length);
      return true;
    }
    return false;
  }

  async #complete(queue: QueuePair, id: number, status: number, length: number): Promise<void> {
    this.#watch?.touch(true);
    const slot = queue.completed % queue.depth;
    const phase = Math.floor(queue.completed / queue.depth) % 2 === 0 ? 1 : 0;
    queue.completed += 1;
    const entry = encodeCompletion({ id, status, length, queue: queue.number, phase });
    const at = busAddr(queue.completion + BigInt(slot * CQE_BYTES));
    const isTold = await this.#moves((dma) => this.fn.engine.write(at, entry, dma));
    this.#watch?.touch(true);
    if (!isTold) queue.broken = true;
  }

  /** True for a transfer of this NIC that went well and was not cut short by a reset. */
  async #moves(transfer: (dma: DmaOptions) => Promise<DmaCompletion>): Promise<boolean> {
    const signal = this.#life;
    try {
      const { status } = await transfer({ signal });
      return status === "ok" && !signal.aborted;
    } catch (error) {
      if (signal.aborted) return false;
      throw error;
    }
  }

  async #execute(queue: QueuePair, request: WorkRequest): Promise<number> {
    const { peer } = queue;
    const { opcode, local, remote } = request;
    if (peer === undefined) return nicStatus.localQueue;
    if (local.length > MAX_MESSAGE) return nicStatus.localLength;
    if (this.#translate(local, () => true) === undefined) return nicStatus.localProtection;
    const range = { ...remote, length: local.length };
    switch (opcode) {
      case nicOpcodes.write: {
        const bytes = new Uint8Array(local.length);
        return (await this.#load(local, bytes)) ?? (await peer.nic.#store(range, bytes, true)) ?? 0;
      }
      case nicOpcodes.read: {
        const bytes = new Uint8Array(local.length);
        const failed = await peer.nic.#loadRemote(range, bytes);
        return failed ?? (await this.#store(local, bytes, false)) ?? 0;
      }
      case nicOpcodes.send: {
        const bytes = new Uint8Array(local.length);
        return (await this.#load(local, bytes)) ?? (await peer.nic.#receive(peer.queue, bytes));
      }
      default:
        return nicStatus.localQueue;
    }
  }

  /** Undefined: done. A number: why not. */
  async #load(range: KeyedRange, bytes: Uint8Array): Promise<number | undefined> {
    const segments = this.#translate(range, () => true);
    if (segments === undefined) return nicStatus.localProtection;
    const isDone = await this.#moves((dma) => this.fn.engine.readList(segments, bytes, dma));
    return isDone ? undefined : nicStatus.localQueue;
  }

  async #loadRemote(range: KeyedRange, bytes: Uint8Array): Promise<number | undefined> {
    const segments = this.#translate(range, (key) => key.remoteRead);
    if (segments === undefined) return nicStatus.remoteAccess;
    const isDone = await this.#moves((dma) => this.fn.engine.readList(segments, bytes, dma));
    return isDone ? undefined : nicStatus.remoteOperation;
  }

  async #store(range: KeyedRange, bytes: Uint8Array, remote: boolean): Promise<number | undefined> {
    const segments = this.#translate(range, (key) => !remote || key.remoteWrite);
    if (segments === undefined) return remote ? nicStatus.remoteAccess : nicStatus.localProtection;
    const isDone = await this.#moves((dma) => this.fn.engine.writeList(segments, bytes, dma));
    if (isDone) return undefined;
    return remote ? nicStatus.remoteOperation : nicStatus.localQueue;
  }

  async #receive(number: number, bytes: Uint8Array): Promise<number> {
    this.#watch?.touch(true);
    const queue = this.#queues.get(number);
    if (queue?.receive === undefined || queue.taken === queue.offered) {
      return nicStatus.receiverNotReady;
    }
    const life = this.#life;
    const entry = new Uint8Array(RECEIVE_BYTES);
    const slot = queue.taken % queue.depth;
    queue.taken = (queue.taken + 1) >>> 0;
    const at = busAddr(queue.receive + BigInt(slot * RECEIVE_BYTES));
    const isFetched = await this.#moves((dma) => this.fn.engine.read(at, entry, dma));
    if (!isFetched) return nicStatus.remoteOperation;
    const { id, local } = decodeReceive(entry);
    const fits = bytes.length <= local.length;
    const failed = fits
      ? await this.#store({ ...local, length: bytes.length }, bytes, false)
      : nicStatus.localLength;
    // Its rings went with the reset.
    if (life.aborted) return nicStatus.remoteOperation;
    await this.#complete(queue, id, failed ?? nicStatus.success, bytes.length);
    return failed === undefined ? nicStatus.success : nicStatus.remoteOperation;
  }

  #translate({ address, length, key }: KeyedRange, allows: (key: NicKey) => boolean) {
    const found = this.keys.get(key);
    return found !== undefined && allows(found) ? segmentsOf(found, address, length) : undefined;
  }
}
