import {
  asyncDispose,
  Closing,
  type DmaBuf,
  DmaBufError,
  type DmaDevice,
  type EventSink,
  type ObjectWatch,
  type Scheduler,
} from "@peerbar/core";
import { checkAccess } from "./access.js";
import type { Backing, BackingParams } from "./backing.js";
import { DynamicBacking } from "./dynamic-backing.js";
import { checkMemory } from "./mr-checks.js";
import type { MrOptions, MrRequest, MrTranslation, ReregRequest } from "./mr-request.js";
import type { Pd } from "./pd.js";
import { type Adopt, PinnedBacking } from "./pinned-backing.js";
import type { MrMode, ProviderProfile } from "./profile.js";

/** What a region needs of its device. */
export interface MrHost {
  readonly name: string;
  readonly profile: ProviderProfile;
  readonly scheduler: Scheduler;
  readonly events: EventSink | undefined;
  /** Who maps for that mode. @throws DmaBufError EINVAL where the device has no data-direct function. */
  dmaDevice(mode: MrMode): DmaDevice;
  /** Runs what takes memory for that mode, up to where the device knows of it. @throws DmaBufError EINTR, ETIMEDOUT waiting for the lock. */
  registering<T>(mode: MrMode, work: () => Promise<T>, options?: MrOptions): Promise<T>;
  /** A key for the region. @throws DmaBufError ENOMEM. */
  addKey(mr: MemoryRegion): number;
  /** The key may be used again from now on. */
  removeKey(key: number): void;
  /** Takes the translation out of the hardware; a failure asks for a device reset (rdma-umem R27). */
  invalidateHardware(mr: MemoryRegion): void;
}

/** A stretch of addresses under one memory key. */
export interface MrSpan {
  readonly iova: bigint;
  readonly length: bigint;
}

/**
 * A memory region over a dma-buf slice. Made by `Pd.regDmaBufMr`, ended by {@link MemoryRegion.dereg}; the buffer's own handle may be closed
 * meanwhile (rdma-umem R32). After a revoke it is dead but keeps its key (rdma-umem R17).
 */
export class MemoryRegion implements AsyncDisposable {
  readonly mode: MrMode;
  readonly #host: MrHost;
  #pd: Pd;
  #access: number;
  #key: number | undefined;
  #span: MrSpan;
  #backing: Backing | undefined;
  /** Work requests look at it without a lock. */
  readonly #watch: ObjectWatch | undefined;
  /** What {@link rereg} is doing. */
  #change: Promise<void> | undefined;
  readonly #ending = new Closing();

  private constructor(host: MrHost, pd: Pd, mode: MrMode, request: MrRequest) {
    this.#host = host;
    this.#pd = pd;
    this.mode = mode;
    this.#access = request.access;
    this.#span = { iova: request.iova, length: request.length };
    this.#watch = host.scheduler.watch?.object(`${host.name} region`);
  }

  /** @internal `Pd.regDmaBufMr`. */
  static async register(
    host: MrHost,
    pd: Pd,
    buffer: DmaBuf,
    request: MrRequest,
    mode: MrMode,
    options?: MrOptions,
  ): Promise<MemoryRegion> {
    const mr = new MemoryRegion(host, pd, mode, request);
    const adopt = (): void => {
      mr.#key = host.addKey(mr);
    };
    try {
      mr.#backing = await mr.#open({ buffer, ...request }, adopt, options);
    } catch (error) {
      if (mr.#key !== undefined) host.removeKey(mr.#key);
      throw error;
    }
    host.events?.emit({
      type: "rdma-reg-mr",
      device: host.name,
      buffer: buffer.label,
      key: mr.lkey,
      mode,
      ...mr.#span,
    });
    return mr;
  }

  /** Key for local work requests. */
  get lkey(): number {
    return this.#key ?? 0;
  }

  /** Key for remote work requests: the same number, as on mlx5 and irdma. */
  get rkey(): number {
    return this.lkey;
  }

  get pd(): Pd {
    return this.#pd;
  }

  /** `MrAccess` bits. */
  get access(): number {
    return this.#access;
  }

  /** Address of the first byte in work requests. */
  get iova(): bigint {
    return this.#span.iova;
  }

  /** Bytes. */
  get length(): bigint {
    return this.#span.length;
  }

  /** What the hardware table was built with, in bytes; undefined while there is no translation. */
  get pageSize(): bigint | undefined {
    return this.#backing?.translation?.pageSize;
  }

  /** Entries of the DMA list it uses now; 0 while there is no translation. */
  get entries(): number {
    return this.#backing?.translation?.entries ?? 0;
  }

  /** `live`: DMA works, for a dynamic region after a fault if need be. `revoked`: dead, key taken. `deregistered`: gone. */
  get state(): "live" | "revoked" | "deregistered" {
    this.#watch?.touch(false);
    if (this.#ending.begun) return "deregistered";
    return this.#backing?.revoked === true ? "revoked" : "live";
  }

  /** @internal What the data path works with; undefined once deregistered. */
  get backing(): Backing | undefined {
    this.#watch?.touch(false);
    return this.#ending.begun ? undefined : this.#backing;
  }

  /**
   * `ibv_dereg_mr`: hardware and mapping end first, the key is free last (rdma-umem R28). Waits for the reservation, for DMA in flight and for
   * a {@link rereg} under way, which then fails. The second call waits for the first; after a failure it goes on from there.
   */
  dereg(): Promise<void> {
    this.#watch?.touch(true);
    return this.#ending.run(() => this.#dereg());
  }

  async [asyncDispose](): Promise<void> {
    await this.dereg();
  }

  /**
   * `ibv_rereg_mr`: other access flags, or other memory under the same key. The new memory is taken before the old is let go, so that a
   * failure changes nothing; irdma does it the other way round and is left with a dead region (rdma-umem R29).
   *
   * One at a time: the verb holds the region's object for itself, and does not wait for it (`uverbs_try_lock_object`).
   *
   * @throws DmaBufError EBADF once deregistered; EBUSY while another change is under way; EINVAL for a revoked region without new memory, as
   *   registration otherwise.
   */
  async rereg(request: ReregRequest, options?: MrOptions): Promise<void> {
    this.#live("rdma.reregMr");
    if (this.#change !== undefined) {
      throw new DmaBufError("EBUSY", "rdma.reregMr", "the region is being re-registered", {
        hint: "wait for the change that is under way",
      });
    }
    const { pd = this.#pd } = request;
    if (pd.device !== this.#pd.device) {
      throw new DmaBufError("EINVAL", "rdma.reregMr", "a domain of another device");
    }
    this.#watch?.touch(true);
    const change = pd.during("rdma.reregMr", () =>
      this.#host.registering(this.mode, () => this.#rereg(request, pd, options), options),
    );
    this.#change = change;
    try {
      await change;
    } finally {
      this.#watch?.touch(true);
      this.#change = undefined;
    }
  }

  async #rereg(request: ReregRequest, pd: Pd, options?: MrOptions): Promise<void> {
    const { translation, access: flags = this.#access } = request;
    if (translation === undefined) {
      checkAccess(flags, "rdma.reregMr");
      await this.#reregInPlace(flags, pd, options);
      return;
    }
    const memory = { ...translation, access: flags };
    checkMemory(memory, this.mode, this.#host.profile, "rdma.reregMr");
    const fresh = await this.#open(memory, () => undefined, options);
    this.#watch?.touch(true);
    if (this.#ending.begun) await fresh.release();
    const old = this.#live("rdma.reregMr");
    this.#backing = fresh;
    this.#use(flags, pd);
    this.#span = { iova: translation.iova, length: translation.length };
    if (fresh.revoked) this.#onInvalidate("revoked");
    // Without the reservation: the release takes it itself (known-bugs B35).
    await old.release();
  }

  /** Changes flags and domain of memory that stays. A dead mapping must not come back to life (rdma-umem R29, known-bugs B34). */
  async #reregInPlace(flags: number, pd: Pd, options?: MrOptions): Promise<void> {
    const old = this.#live("rdma.reregMr");
    await old.params.buffer.reservation.hold(() => {
      this.#live("rdma.reregMr");
      if (old.revoked) {
        throw new DmaBufError("EINVAL", "rdma.reregMr", "the region was revoked", {
          hint: "pass new memory, or deregister it",
          rule: "rdma-umem R29",
        });
      }
      this.#use(flags, pd);
    }, options);
  }

  #use(flags: number, pd: Pd): void {
    this.#watch?.touch(true);
    this.#access = flags;
    this.#pd.forget(this);
    this.#pd = pd;
    pd.adopt(this);
  }

  async #dereg(): Promise<void> {
    await this.#backing?.release();
    // It may have memory of its own to let go; its error is its caller's.
    await this.#change?.catch(() => undefined);
    if (this.#key === undefined) return;
    this.#host.removeKey(this.#key);
    this.#host.events?.emit({ type: "rdma-dereg-mr", device: this.#host.name, key: this.#key });
  }

  #open(
    memory: MrTranslation & { readonly access: number },
    adopt: Adopt,
    options?: MrOptions,
  ): Promise<Backing> {
    const { profile, scheduler } = this.#host;
    // Field by field: a spread with more behind it took a quarter of a registration.
    const params: BackingParams = {
      buffer: memory.buffer,
      offset: memory.offset,
      length: memory.length,
      iova: memory.iova,
      access: memory.access,
      device: this.#host.dmaDevice(this.mode),
      profile,
      pageSizes:
        this.mode === "data-direct"
          ? belowLowestBit(profile.pageSizes, memory.iova)
          : profile.pageSizes,
      scheduler,
      // The key shows other memory once it has been re-registered: what becomes of the old is not the key's.
      onInvalidate: (why) => {
        const shown = this.#backing?.params;
        if (shown === undefined || shown === params) this.#onInvalidate(why);
      },
      onFault: (pageSize) => {
        this.#host.events?.emit({
          type: "rdma-page-fault",
          device: this.#host.name,
          key: this.lkey,
          pageSize,
        });
      },
    };
    if (this.mode === "dynamic") return DynamicBacking.open(params, adopt, options);
    if (this.mode === "pinned-revocable") return PinnedBacking.revocable(params, adopt, options);
    return PinnedBacking.unrevocable(params, adopt, options);
  }

  #onInvalidate(why: "revoked" | "zapped"): void {
    this.#host.invalidateHardware(this);
    this.#host.events?.emit({
      type: why === "revoked" ? "rdma-mr-revoked" : "rdma-mr-zapped",
      device: this.#host.name,
      key: this.lkey,
    });
  }

  #live(syscall: string): Backing {
    this.#watch?.touch(false);
    if (this.#ending.begun || this.#backing === undefined) {
      throw new DmaBufError("EBADF", syscall, "the region is deregistered");
    }
    return this.#backing;
  }
}

/** A KSM table addresses pages by IOVA alone, so that none may be larger than the IOVA's alignment (rdma-umem R36). */
function belowLowestBit(pageSizes: bigint, iova: bigint): bigint {
  return iova === 0n ? pageSizes : pageSizes & (((iova & -iova) << 1n) - 1n);
}
