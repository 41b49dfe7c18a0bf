import { type DmaAddr, type DmaCompletion, type DmaEngine, throwIfAborted } from "@peerbar/core";
import type { FabricNode } from "./fabric/node.js";
import { type DmaOptions, type DmaSegment, type EngineContext, Transfer } from "./transfer.js";

/**
 * The bus-master side of a function. A transfer is a stream of requests: each chunk goes where the registers and page tables send it at
 * that moment, so a revoke may come in the middle. Asynchronous forms yield to the scheduler between chunks; the `Now` forms do not.
 *
 * Writes are posted on real hardware, and their failure is seen only in error registers: here the completion tells.
 * With bus mastering off nothing leaves the function: "unsupported-request", no byte transferred.
 */
export class SimDmaEngine implements DmaEngine {
  readonly #name: string;
  readonly #context: EngineContext;
  readonly #transfer: Transfer;

  /** @internal Made by `Machine`. */
  constructor(node: FabricNode, context: EngineContext, dmaMask: bigint) {
    this.#name = node.name;
    this.#context = context;
    this.#transfer = new Transfer(node, context, dmaMask);
  }

  async write(address: DmaAddr, bytes: Uint8Array, options?: DmaOptions): Promise<DmaCompletion> {
    return this.#inChunks("dma.write", bytes.length, options, (done, length) =>
      this.#transfer.move(address, done, bytes, length, true, options),
    );
  }

  async read(address: DmaAddr, into: Uint8Array, options?: DmaOptions): Promise<DmaCompletion> {
    return this.#inChunks("dma.read", into.length, options, (done, length) =>
      this.#transfer.move(address, done, into, length, false, options),
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
      this.#transfer.copy(from, to, done, now, options),
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
    return this.#transfer.move(address, 0, bytes, bytes.length, true, options);
  }

  /** {@link read} in one go, without yielding. */
  readNow(address: DmaAddr, into: Uint8Array, options?: DmaOptions): DmaCompletion {
    return this.#transfer.move(address, 0, into, into.length, false, options);
  }

  /** {@link copy} in one go, without yielding. */
  copyNow(from: DmaAddr, to: DmaAddr, length: number, options?: DmaOptions): DmaCompletion {
    return this.#transfer.copy(from, to, 0, length, options);
  }

  /**
   * ATS: what the IOMMU makes of an address now, and for how many bytes. Use it with `translated`. The function must forget it when the
   * mapping goes: requests that carry a translated address pass the IOMMU unseen.
   */
  requestTranslation(address: DmaAddr, length: number, write: boolean): DmaSegment | undefined {
    return this.#transfer.translate(address, length, write);
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
      if (done >= total) return { status: "ok", transferred: done, at: undefined };
      await scheduler.yield({ kind: "yield", on: this.#name });
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
    return { status: "ok", transferred: done, at: undefined };
  }
}
