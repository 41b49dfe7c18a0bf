import type {
  AbortSignalLike,
  DmaAddr,
  DmaCompletion,
  DmaEngine,
  EventSink,
  Scheduler,
} from "@peerbar/core";
import { throwIfAborted } from "@peerbar/core";
import { corruptLines } from "./corrupt.js";
import type { Fabric, Request, TransferStatus } from "./fabric/fabric.js";
import type { FabricNode } from "./fabric/node.js";
import type { SparseMemory } from "./sparse-memory.js";

export interface DmaOptions {
  /** Requests carry an address that the IOMMU translated before (ATS): it does not translate them again. */
  readonly translated?: boolean;
  /** Bus number in the requester ID, for a function that lies; ACS source validation catches it. */
  readonly requesterBus?: number;
  /** Looked at between chunks. Aborting throws EINTR; chunks that were moved stay moved. */
  readonly signal?: AbortSignalLike;
}

/** A part of a scatter list. */
export interface DmaSegment {
  readonly address: DmaAddr;
  /** Bytes. */
  readonly length: number;
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

/**
 * The bus-master side of a function. A transfer is a stream of requests: each chunk goes where the registers and page tables send it at
 * that moment, so a revoke may come in the middle. Asynchronous forms yield to the scheduler between chunks; the `Now` forms do not.
 *
 * Writes are posted on real hardware, and their failure is seen only in error registers: here the completion tells.
 * With bus mastering off nothing leaves the function: "unsupported-request", no byte transferred.
 */
export class SimDmaEngine implements DmaEngine {
  readonly #node: FabricNode;
  readonly #context: EngineContext;
  readonly #mask: bigint;

  /** @internal Made by `Machine`. */
  constructor(node: FabricNode, context: EngineContext, dmaMask: bigint) {
    this.#node = node;
    this.#context = context;
    this.#mask = dmaMask;
  }

  async write(address: DmaAddr, bytes: Uint8Array, options?: DmaOptions): Promise<DmaCompletion> {
    return this.#inChunks("dma.write", bytes.length, options, (done, length) =>
      this.#move(address, done, bytes, length, true, options),
    );
  }

  async read(address: DmaAddr, into: Uint8Array, options?: DmaOptions): Promise<DmaCompletion> {
    return this.#inChunks("dma.read", into.length, options, (done, length) =>
      this.#move(address, done, into, length, false, options),
    );
  }

  /** Reads `length` bytes at `from` and writes them at `to`, chunk by chunk. */
  async copy(
    from: DmaAddr,
    to: DmaAddr,
    length: number,
    options?: DmaOptions,
  ): Promise<DmaCompletion> {
    return this.#inChunks("dma.copy", length, options, (done, now) =>
      this.#copy(from, to, done, now, options),
    );
  }

  /** Writes `bytes` over the segments in order. `transferred` counts over all of them. */
  async writeList(
    segments: Iterable<DmaSegment>,
    bytes: Uint8Array,
    options?: DmaOptions,
  ): Promise<DmaCompletion> {
    return this.#overList(segments, bytes, (address, part) => this.write(address, part, options));
  }

  /** Fills `into` from the segments in order. */
  async readList(
    segments: Iterable<DmaSegment>,
    into: Uint8Array,
    options?: DmaOptions,
  ): Promise<DmaCompletion> {
    return this.#overList(segments, into, (address, part) => this.read(address, part, options));
  }

  /** {@link write} in one go, without yielding. */
  writeNow(address: DmaAddr, bytes: Uint8Array, options?: DmaOptions): DmaCompletion {
    return this.#move(address, 0, bytes, bytes.length, true, options);
  }

  /** {@link read} in one go, without yielding. */
  readNow(address: DmaAddr, into: Uint8Array, options?: DmaOptions): DmaCompletion {
    return this.#move(address, 0, into, into.length, false, options);
  }

  /** {@link copy} in one go, without yielding. */
  copyNow(from: DmaAddr, to: DmaAddr, length: number, options?: DmaOptions): DmaCompletion {
    return this.#copy(from, to, 0, length, options);
  }

  async #inChunks(
    operation: string,
    total: number,
    options: DmaOptions | undefined,
    step: (done: number, length: number) => DmaCompletion,
  ): Promise<DmaCompletion> {
    const { chunkBytes, scheduler } = this.#context;
    let done = 0;
    for (;;) {
      throwIfAborted(options, operation);
      const completion = step(done, Math.min(chunkBytes, total - done));
      done += completion.transferred;
      if (completion.status !== "ok") return { ...completion, transferred: done };
      if (done >= total) return { status: DONE, transferred: done, at: undefined };
      await scheduler.yield({ kind: "yield", on: this.#node.name });
    }
  }

  async #overList(
    segments: Iterable<DmaSegment>,
    bytes: Uint8Array,
    move: (address: DmaAddr, part: Uint8Array) => Promise<DmaCompletion>,
  ): Promise<DmaCompletion> {
    let done = 0;
    for (const { address, length } of segments) {
      const part = bytes.subarray(done, done + length);
      if (part.length === 0) break;
      const completion = await move(address, part);
      done += completion.transferred;
      if (completion.status !== "ok") return { ...completion, transferred: done };
    }
    return { status: DONE, transferred: done, at: undefined };
  }

  /** One chunk between the device's own `bytes` and the fabric; `done` is the offset of the chunk in both. */
  #move(
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
      if (status !== DONE) return this.#failed(status, start, moved);
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

  #copy(
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
      let status = this.#issueAt(reading, source, length - moved);
      if (status !== DONE) return this.#failed(status, source, 0, moved);
      const { memory: sourceMemory, offset: sourceOffset, corrupt: readCorrupt } = hit;
      const target = to + BigInt(done + moved);
      status = this.#issueAt(writing, target, hit.length);
      if (status !== DONE) return this.#failed(status, target, 0, moved);
      const { memory, offset, length: run, bar } = hit;
      if (memory === undefined || sourceMemory === undefined) break;
      memory.copyFrom(sourceMemory, sourceOffset, offset, run);
      if (readCorrupt) this.#spoil(memory, offset, run);
      if (hit.corrupt) this.#spoil(memory, offset, run);
      bar?.onWrite?.(offset, run);
      moved += run;
    }
    return { status: DONE, transferred: moved, at: undefined };
  }

  #issueAt(request: Request, address: bigint, length: number): TransferStatus {
    return this.#issue(request, Number(address >> 12n), Number(address & 0xfffn), length);
  }

  #issue(request: Request, pfn: number, byte: number, length: number): TransferStatus {
    const { fabric, events } = this.#context;
    const inReach = pfn >= 0 && pfn <= Number(this.#mask >> 12n);
    const issued = this.#node.masters && inReach;
    const status = issued ? fabric.request(request, pfn, byte, length) : "unsupported-request";
    events?.emit({
      type: "tlp",
      requester: this.#node.name,
      kind: request.write ? "write" : "read",
      translated: request.translated,
      address: (BigInt(pfn) << 12n) + BigInt(byte),
      length: status === DONE ? fabric.hit.length : length,
      status,
      route: status === DONE ? fabric.hit.route : undefined,
      target: status === DONE ? (fabric.hit.node?.name ?? "ram") : undefined,
    });
    return status;
  }

  #request(write: boolean, options: DmaOptions | undefined): Request {
    return {
      from: this.#node,
      requesterBus: options?.requesterBus ?? this.#node.busNumber,
      write,
      translated: options?.translated ?? false,
    };
  }

  #failed(
    status: TransferStatus,
    start: bigint,
    offset: number,
    transferred = offset,
  ): DmaCompletion {
    return { status, transferred, at: (start + BigInt(offset)) as DmaAddr };
  }

  #spoil(memory: SparseMemory, offset: number, length: number): void {
    corruptLines(offset, length, this.#context.seed, (at, mask) => {
      memory.flip(at, mask);
    });
  }
}
