import {
  ADDRESS_LIMIT,
  type Attachment,
  Closing,
  type DmaBuf,
  DmaBufError,
  type DmaBufReference,
  type DmaDevice,
  type Held,
  hex,
  type ImporterOps,
  ProtocolViolation,
  type ScatterSlice,
  type ScatterTable,
  toPfn,
  type WaitOptions,
} from "@peerbar/core";
import { isWritable } from "./access.js";

/** The part of a buffer that a region shows. */
export interface UmemRequest {
  /** Bytes from the start of the buffer. */
  readonly offset: bigint;
  /** Bytes. */
  readonly size: bigint;
  /** `MrAccess` bits. */
  readonly access: number;
}

/** What a driver does when its mapping is about to go: runs once, under the reservation, and must not wait. */
export type RevokeCallback = (held: Held) => void;

/**
 * A part of a dma-buf as user memory of an RDMA device: `struct ib_umem_dmabuf`. It holds a reference to the buffer, so the caller's own may
 * go (rdma-umem R32).
 */
export class DmaBufUmem {
  readonly buffer: DmaBuf;
  /** The offset, not the IOVA (rdma-umem R2). */
  readonly address: bigint;
  /** Bytes. */
  readonly length: bigint;
  readonly writable: boolean;
  readonly isDmaBuf = true;
  readonly #reference: DmaBufReference;
  #attachment: Attachment | undefined;
  #table: ScatterTable | undefined;
  #slice: ScatterSlice | undefined;
  #pinned = false;
  #revoked = false;
  #told = false;
  #left = false;
  readonly #ending = new Closing();
  #callback: RevokeCallback | undefined;

  private constructor(reference: DmaBufReference, { offset, size, access }: UmemRequest) {
    this.buffer = reference.buffer;
    this.address = offset;
    this.length = size;
    this.writable = isWritable(access);
    this.#reference = reference;
  }

  /**
   * `ib_umem_dmabuf_get`: attached with the driver's ops, neither pinned nor mapped. `ops` is asked for first, with the umem it will hear of,
   * because an invalidation may come at once (known-bugs B37).
   *
   * @throws DmaBufError in this order (rdma-umem R1): EINVAL where offset + size wraps, EBADF for a released buffer, EINVAL past its end,
   *   EINVAL for size 0, then the exporter's errno, EOPNOTSUPP where it cannot be mapped. The reference is dropped.
   */
  static get(
    device: DmaDevice,
    buffer: DmaBuf,
    request: UmemRequest,
    ops: (umem: DmaBufUmem) => ImporterOps,
  ): DmaBufUmem {
    const { offset, size } = request;
    if (offset < 0n || size < 0n || offset + size >= ADDRESS_LIMIT) {
      throw invalid(`offset ${hex(offset)} + size ${hex(size)} leaves 64 bits`);
    }
    const reference = buffer.get();
    try {
      if (buffer.size < offset + size) {
        throw invalid(`${hex(offset)} + ${hex(size)} is past the end, ${hex(buffer.size)} bytes`);
      }
      if (size === 0n) throw invalid("a size of 0 bytes");
      const umem = new DmaBufUmem(reference, request);
      umem.#attach(device, ops(umem));
      return umem;
    } catch (error) {
      reference.put();
      throw error;
    }
  }

  /**
   * `ib_umem_dmabuf_get_pinned`: pinned and mapped until {@link release}. Without an invalidate callback the exporter cannot take it back, so
   * revocable exporters refuse it (rdma-umem R16).
   *
   * @throws DmaBufError as {@link get}, then from pin and map; EINTR, ETIMEDOUT waiting for the reservation or the fences.
   */
  static async getPinned(
    device: DmaDevice,
    buffer: DmaBuf,
    request: UmemRequest,
    options?: WaitOptions,
  ): Promise<DmaBufUmem> {
    const umem = DmaBufUmem.get(device, buffer, request, () => ({ allowPeer2Peer: true }));
    const held = await umem.#pinAndMap(options);
    held.release();
    return umem;
  }

  /**
   * `ib_umem_dmabuf_get_pinned_revocable_and_lock`: as {@link getPinned}, but the exporter can revoke it. The reservation comes back held:
   * set the callback with {@link setRevokeLocked} and then release it, and no revoke can slip in between (rdma-umem R4).
   *
   * @throws DmaBufError as {@link getPinned}.
   */
  static async getPinnedRevocableAndLock(
    device: DmaDevice,
    buffer: DmaBuf,
    request: UmemRequest,
    options?: WaitOptions,
  ): Promise<{ readonly umem: DmaBufUmem; readonly held: Held }> {
    const umem = DmaBufUmem.get(device, buffer, request, (self) => ({
      allowPeer2Peer: true,
      invalidateMappings: (_attachment, locked) => {
        self.revokeLocked(locked);
      },
    }));
    return { umem, held: await umem.#pinAndMap(options) };
  }

  /** The mapped part, trimmed to whole pages around the region; undefined while not mapped. */
  get slice(): ScatterSlice | undefined {
    return this.#slice;
  }

  get mapped(): boolean {
    return this.#table !== undefined;
  }

  get pinned(): boolean {
    return this.#pinned;
  }

  /** For good: there is no un-revoke (rdma-umem R14). */
  get revoked(): boolean {
    return this.#revoked;
  }

  /** Whether peer-to-peer survived the attach: the exporter may have declined (known-bugs B38). */
  get peer2peer(): boolean {
    return this.#attached().peer2peer;
  }

  /**
   * `ib_umem_dmabuf_map_pages`: maps where not mapped, then waits for KERNEL fences with the reservation held. A failed wait leaves the mapping
   * (rdma-umem R6, R9).
   *
   * @throws DmaBufError EINVAL once revoked; the exporter's errno; EINTR, ETIMEDOUT.
   */
  async mapPages(held: Held, options?: WaitOptions): Promise<ScatterSlice> {
    this.buffer.reservation.assertHeld(held, "umem.mapPages");
    this.#assertNotRevoked();
    const slice = this.#slice ?? this.#map(held);
    await this.buffer.reservation.wait("kernel", options);
    return slice;
  }

  /** `ib_umem_dmabuf_unmap_pages`: gives the exporter its own table back, untrimmed (rdma-umem R10). Nothing where not mapped. */
  unmapPages(held: Held): void {
    this.buffer.reservation.assertHeld(held, "umem.unmapPages");
    const table = this.#table;
    if (table === undefined) return;
    this.#attached().unmap(table, "bidirectional", held);
    this.#table = undefined;
    this.#slice = undefined;
  }

  /** `ib_umem_dmabuf_set_revoke_locked`. @throws ProtocolViolation without the reservation (rdma-umem R4). */
  setRevokeLocked(held: Held, callback: RevokeCallback): void {
    this.buffer.reservation.assertHeld(held, "umem.setRevokeLocked");
    if (this.#callback !== undefined) {
      throw new ProtocolViolation("rdma-umem R4", "umem.setRevokeLocked", "set already");
    }
    this.#callback = callback;
  }

  /**
   * `ib_umem_dmabuf_revoke_locked`: driver callback, unmap, unpin, for good; all done when it returns. Does nothing the second time
   * (rdma-umem R12, R13).
   */
  revokeLocked(held: Held): void {
    this.buffer.reservation.assertHeld(held, "umem.revokeLocked");
    if (this.#revoked) return;
    // At most once, also where what follows failed and is tried again (rdma-umem R13).
    if (!this.#told) {
      this.#told = true;
      this.#callback?.(held);
    }
    this.unmapPages(held);
    if (this.#pinned) this.#attached().unpin(held);
    this.#pinned = false;
    this.#revoked = true;
  }

  /** `ib_umem_dmabuf_revoke`: takes the reservation itself. */
  revoke(): Promise<void> {
    return this.buffer.reservation.hold((held) => {
      this.revokeLocked(held);
    });
  }

  /**
   * `ib_umem_release`: revoke, detach, put (rdma-umem R15). Waits for the reservation, so the caller must not hold it. Releasing twice is
   * harmless; after a failure it goes on from there.
   *
   * @throws DmaBufError EDEADLK where the running code holds the reservation (known-bugs B35).
   */
  async release(): Promise<void> {
    if (this.#left) return;
    this.buffer.assertUnlocked("umem.release");
    await this.#ending.run(async () => {
      await this.revoke();
      this.#leave();
    });
  }

  /** Pins and maps under the reservation, which comes back held; everything undone once where it fails (rdma-umem R3, known-bugs B32). */
  async #pinAndMap(options?: WaitOptions): Promise<Held> {
    let held: Held | undefined;
    try {
      held = await this.buffer.reservation.lock(options);
      // Revoked while it waited: the revoke found nothing pinned, and will not come back for a pin made now.
      this.#assertNotRevoked();
      this.#attached().pin(held);
      this.#pinned = true;
      await this.mapPages(held, options);
      return held;
    } catch (error) {
      held?.release();
      // Who gave up waiting for the lock must not wait for it again to leave.
      if (held === undefined) this.#leave();
      else await this.release();
      throw error;
    }
  }

  /** Attaches and makes sure of an interconnect: a region needs DMA addresses, and the exporter may offer none. */
  #attach(device: DmaDevice, ops: ImporterOps): void {
    const attachment = this.buffer.attach(device, ops);
    this.#attachment = attachment;
    try {
      attachment.negotiate(["sgt"]);
    } catch (error) {
      attachment.detach();
      throw error;
    }
  }

  #assertNotRevoked(): void {
    if (!this.#revoked) return;
    throw new DmaBufError("EINVAL", "umem.mapPages", "the exporter revoked the buffer", {
      hint: "register the memory again",
      rule: "rdma-umem R6",
    });
  }

  #leave(): void {
    this.#attached().detach();
    this.#left = true;
    this.#reference.put();
  }

  #map(held: Held): ScatterSlice {
    const attachment = this.#attached();
    // A region of an RDMA device is always mapped both ways (rdma-umem R2).
    const table = attachment.map("bidirectional", held);
    const first = toPfn(this.address);
    const end = toPfn(this.address + this.length + 0xfffn);
    try {
      this.#slice = table.slice(first, end - first);
    } catch (cause) {
      attachment.unmap(table, "bidirectional", held);
      throw new DmaBufError("EINVAL", "umem.mapPages", "the exporter mapped too few pages", {
        cause,
      });
    }
    this.#table = table;
    return this.#slice;
  }

  #attached(): Attachment {
    if (this.#attachment === undefined) {
      throw new DmaBufError("EBADF", "umem", "the umem is not attached yet");
    }
    return this.#attachment;
  }
}

function invalid(reason: string): DmaBufError {
  return new DmaBufError("EINVAL", "umem.get", reason, { rule: "rdma-umem R1" });
}
