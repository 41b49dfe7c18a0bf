import {
  type AbortSignalLike,
  busAddr,
  type DmaAddr,
  type DmaCompletion,
  type EventSink,
  type Scheduler,
} from "@peerbar/core";
import { corruptLines } from "./corrupt.js";
import type { Fabric, Request, TransferStatus } from "./fabric/fabric.js";
import type { FabricNode } from "./fabric/node.js";
import type { SparseMemory } from "./sparse-memory.js";

/** A part of a scatter list. */
export interface DmaSegment {
  /** Where the segment begins, as the device sends it, in bytes. */
  readonly address: DmaAddr;
  /** Bytes. */
  readonly length: number;
}

/** How one transfer is done. */
export interface DmaOptions {
  /** Requests carry an address that the IOMMU translated before (ATS): it does not translate them again. */
  readonly translated?: boolean;
  /** Bus number in the requester ID, for a function that lies; ACS source validation catches it. */
  readonly requesterBus?: number;
  /** Looked at between chunks. Aborting throws EINTR; chunks that were moved stay moved. */
  readonly signal?: AbortSignalLike;
}

/** What an engine needs of its machine. */
export interface EngineContext {
  readonly fabric: Fabric;
  readonly scheduler: Scheduler;
  readonly events: EventSink | undefined;
  /** Bytes moved between two yields. */
  readonly chunkBytes: number;
  /** Seed of what a corrupting host bridge does. */
  readonly seed: number;
}

const DONE: TransferStatus = "ok";

/** Moves bytes between a function and the fabric, one contiguous run after the other. Never yields. */
export class Transfer {
  readonly #node: FabricNode;
  readonly #context: EngineContext;
  /** Page frame of the highest address that the function can put on its wires. */
  readonly #lastPfn: number;

  constructor(node: FabricNode, context: EngineContext, dmaMask: bigint) {
    this.#node = node;
    this.#context = context;
    this.#lastPfn = Number(dmaMask >> 12n);
  }

  /** `length` bytes between the function's own `bytes` and `address`; `done` is the offset of the part in both. */
  move(
    address: DmaAddr,
    done: number,
    bytes: Uint8Array,
    length: number,
    write: boolean,
    options: DmaOptions | undefined,
  ): DmaCompletion {
    const { fabric } = this.#context;
    const request = this.#request(write, options);
    const start = address + BigInt(done);
    let pfn = Number(start >> 12n);
    let byte = Number(start & 0xfffn);
    let moved = 0;
    while (moved < length) {
      const status = this.#issue(request, pfn, byte, length - moved);
      if (status !== DONE) return this.#failed(status, start + BigInt(moved), moved);
      const { memory, offset, length: run, bar, corrupt } = fabric.hit;
      if (memory === undefined) break;
      if (write) {
        memory.write(offset, bytes, done + moved, run);
        if (corrupt) this.#spoil(memory, offset, run);
        bar?.onWrite?.(offset, run);
      } else {
        memory.read(offset, bytes, done + moved, run);
        if (corrupt)
          corruptLines(offset, run, this.#context.seed, (at, mask) => {
            const index = done + moved + (at - offset);
            bytes[index] = (bytes[index] ?? 0) ^ mask;
          });
      }
      moved += run;
      byte += run;
      pfn += Math.floor(byte / 4096);
      byte %= 4096;
    }
    return { status: DONE, transferred: moved, at: undefined };
  }

  /** Reads at `from` and writes at `to`, both plus `done`. What was read is written before the next read. */
  copy(
    from: DmaAddr,
    to: DmaAddr,
    done: number,
    length: number,
    options: DmaOptions | undefined,
  ): DmaCompletion {
    const { hit } = this.#context.fabric;
    const reading = this.#request(false, options);
    const writing = this.#request(true, options);
    let moved = 0;
    while (moved < length) {
      const source = from + BigInt(done + moved);
      const status = this.#issueAt(reading, source, length - moved);
      const { memory, offset, length: run, corrupt } = hit;
      if (status !== DONE) return this.#failed(status, source, moved);
      if (memory === undefined) break;
      for (let end = moved + run; moved < end; ) {
        const target = to + BigInt(done + moved);
        const ended = this.#issueAt(writing, target, end - moved);
        if (ended !== DONE) return this.#failed(ended, target, moved);
        const at = offset + run - (end - moved);
        moved += this.#copyRun(memory, at, corrupt);
      }
    }
    return { status: DONE, transferred: moved, at: undefined };
  }

  /** Copies to where the last request ended. @returns bytes */
  #copyRun(source: SparseMemory, sourceOffset: number, spoiled: boolean): number {
    const { memory, offset, length, bar, corrupt } = this.#context.fabric.hit;
    memory?.copyFrom(source, sourceOffset, offset, length);
    // Once, however often it passed: the same bits would flip back.
    if (memory !== undefined && (spoiled || corrupt)) this.#spoil(memory, offset, length);
    bar?.onWrite?.(offset, length);
    return length;
  }

  /** An ATS translation request: asks the IOMMU instead of moving bytes. Undefined where it grants nothing. */
  translate(address: DmaAddr, length: number, write: boolean): DmaSegment | undefined {
    this.#context.fabric.consult();
    const { port } = this.#node;
    if (port === undefined || !this.#node.masters) return undefined;
    const pfn = Number(address >> 12n);
    const byte = Number(address & 0xfffn);
    const reach = this.#reach(pfn, byte, length);
    if (reach <= 0) return undefined;
    const out = { pfn: 0 };
    const pages = port.translate(pfn, Math.ceil((byte + reach) / 4096), write, out);
    if (pages <= 0) return undefined;
    const granted = Math.min(reach, pages * 4096 - byte);
    return { address: busAddr((BigInt(out.pfn) << 12n) + BigInt(byte)), length: granted };
  }

  #issueAt(request: Request, address: bigint, length: number): TransferStatus {
    return this.#issue(request, Number(address >> 12n), Number(address & 0xfffn), length);
  }

  #issue(request: Request, pfn: number, byte: number, length: number): TransferStatus {
    const { fabric, events } = this.#context;
    fabric.consult();
    const reach = this.#reach(pfn, byte, length);
    const issued = this.#node.masters && reach > 0;
    const status = issued ? fabric.request(request, pfn, byte, reach) : "unsupported-request";
    events?.emit({
      type: "tlp",
      requester: this.#node.name,
      kind: request.write ? "write" : "read",
      translated: request.translated,
      address: (BigInt(pfn) << 12n) + BigInt(byte),
      length: status === DONE ? fabric.hit.length : issued ? reach : length,
      status,
      route: status === DONE ? fabric.hit.route : undefined,
      path: issued ? [...fabric.hit.path] : [],
      completionRedirected: status === DONE && fabric.hit.completionRedirected,
      target: status === DONE ? (fabric.hit.node?.name ?? "ram") : undefined,
    });
    return status;
  }

  /** How many of `length` bytes the function can name on its wires: what runs over its DMA mask is another request (dma-iova R2). */
  #reach(pfn: number, byte: number, length: number): number {
    if (pfn < 0 || pfn > this.#lastPfn) return 0;
    return Math.min(length, (this.#lastPfn + 1 - pfn) * 4096 - byte);
  }

  #request(write: boolean, options: DmaOptions | undefined): Request {
    return {
      from: this.#node,
      requesterBus: options?.requesterBus ?? this.#node.busNumber,
      write,
      translated: options?.translated ?? false,
    };
  }

  #failed(status: TransferStatus, at: bigint, transferred: number): DmaCompletion {
    return { status, transferred, at: at as DmaAddr };
  }

  #spoil(memory: SparseMemory, offset: number, length: number): void {
    corruptLines(offset, length, this.#context.seed, (at, mask) => {
      memory.flip(at, mask);
    });
  }
}
