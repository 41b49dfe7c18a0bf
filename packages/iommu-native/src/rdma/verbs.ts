import { DmaBufError, dispose, hex, type Slice } from "@peerbar/core";
import type { NativeDmaBuf } from "../buffers/native-dma-buf.js";
import { everyStep } from "../every-step.js";
import { type Causes, explained } from "../explain.js";
import { type Address, type VerbsLibrary, verbsError, verbsLibrary } from "./verbs-library.js";

/** `enum ibv_access_flags` (infiniband/verbs.h): what the device and its peers may do with a region. */
export const VerbsAccess = {
  LOCAL_WRITE: 1,
  REMOTE_WRITE: 2,
  REMOTE_READ: 4,
  REMOTE_ATOMIC: 8,
  MW_BIND: 16,
  ZERO_BASED: 32,
  /** Registers without pinning; the only kind that survives an exporter's revoke (rdma-umem section 1). */
  ON_DEMAND: 64,
} as const;

/** struct ibv_mr: context, pd, addr, length (8 bytes each), handle, lkey, rkey (4 each). */
const MR = { length: 44, lkey: 36, rkey: 40 } as const;
const POINTER = 8;

/**
 * Names of the RDMA devices that libibverbs can drive: those with a provider library.
 *
 * @throws DmaBufError ENOENT without libibverbs; ENOSYS where the kernel has no uverbs.
 */
export function verbsDevices(library: VerbsLibrary = verbsLibrary()): readonly string[] {
  return withList(library, (devices) => devices.map((device) => library.getDeviceName(device)));
}

/** An RDMA device opened through libibverbs. Closing it ends its domains and regions. */
export class VerbsDevice implements Disposable {
  readonly name: string;
  readonly #library: VerbsLibrary;
  readonly #context: Address;
  readonly #pds = new Set<VerbsPd>();
  #open = true;

  private constructor(library: VerbsLibrary, name: string, context: Address) {
    this.#library = library;
    this.name = name;
    this.#context = context;
  }

  /** `ibv_open_device`. @throws DmaBufError ENODEV for an unknown name; as {@link verbsDevices}; EACCES. */
  static open(name: string, library: VerbsLibrary = verbsLibrary()): VerbsDevice {
    return withList(library, (devices) => {
      const device = devices.find((one) => library.getDeviceName(one) === name);
      if (device === undefined) {
        const known = devices.map((one) => library.getDeviceName(one)).join(", ") || "none";
        throw new DmaBufError(
          "ENODEV",
          "ibv_open_device",
          `no RDMA device ${name}; there are: ${known}`,
          {
            hint: "ibv_devices lists them; each needs its provider library (ibverbs-providers)",
          },
        );
      }
      const context = library.openDevice(device);
      if (context === 0n) throw verbsError("ibv_open_device", name);
      return new VerbsDevice(library, name, context);
    });
  }

  /** `ibv_alloc_pd`. */
  allocPd(): VerbsPd {
    if (!this.#open) throw new DmaBufError("EBADF", "ibv_alloc_pd", `${this.name} is closed`);
    const address = this.#library.allocPd(this.#context);
    if (address === 0n) throw verbsError("ibv_alloc_pd", this.name);
    const pd = new VerbsPd(this.#library, this.name, address, (ended) => {
      this.#pds.delete(ended);
    });
    this.#pds.add(pd);
    return pd;
  }

  /** Ends its protection domains first. Twice is harmless. @throws DmaBufError the errno that a driver gives, once all is tried. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    const domains = [...this.#pds].map((pd) => () => {
      pd.close();
    });
    everyStep([
      ...domains,
      () => {
        const result = this.#library.closeDevice(this.#context);
        if (result !== 0) throw verbsError("ibv_close_device", this.name);
      },
    ]);
  }

  [dispose](): void {
    this.close();
  }
}

/** What {@link VerbsPd.regDmaBufMr} registers. */
export interface VerbsMrRequest {
  /** Part of the buffer, in bytes. */
  readonly slice: Slice;
  /** Address that remote requests use for the slice's first byte; its offset in the buffer by default. */
  readonly iova?: bigint | undefined;
  /** Bits of {@link VerbsAccess}. */
  readonly access: number;
}

/** A protection domain (`ibv_alloc_pd`). */
export class VerbsPd implements Disposable {
  readonly #library: VerbsLibrary;
  readonly #name: string;
  readonly #address: Address;
  readonly #onClose: (pd: VerbsPd) => void;
  readonly #regions = new Set<VerbsMr>();
  #open = true;

  /** @internal Made by {@link VerbsDevice.allocPd}. */
  constructor(
    library: VerbsLibrary,
    name: string,
    address: Address,
    onClose: (pd: VerbsPd) => void,
  ) {
    this.#library = library;
    this.#name = name;
    this.#address = address;
    this.#onClose = onClose;
  }

  /**
   * `ibv_reg_dmabuf_mr`: the kernel's driver attaches to the buffer and builds a memory region (rdma-umem R1). The region keeps the buffer.
   *
   * @throws DmaBufError EOPNOTSUPP where the driver has no dma-buf support, or cannot be revoked and the exporter asks for it; EINVAL for
   *   the slice; the exporter's errno otherwise.
   */
  regDmaBufMr(buffer: NativeDmaBuf, request: VerbsMrRequest): VerbsMr {
    if (!this.#open) throw new DmaBufError("EBADF", "ibv_reg_dmabuf_mr", "the domain is closed");
    const { slice, access } = request;
    const reference = buffer.get();
    try {
      const address = explained(
        () => this.#register(buffer, request),
        () => regCauses(this.#name, slice, buffer),
      );
      const mr = new VerbsMr({ ...this.#keysOf(address), access }, () => {
        this.#regions.delete(mr);
        const result = this.#library.deregMr(address);
        reference.put();
        if (result !== 0) throw verbsError("ibv_dereg_mr", this.#name, { returned: result });
      });
      this.#regions.add(mr);
      return mr;
    } catch (error) {
      reference.put();
      throw error;
    }
  }

  /** Deregisters its regions first. Twice is harmless. @throws DmaBufError the errno that a driver gives, once all is tried. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    const regions = [...this.#regions].map((mr) => () => {
      mr.dereg();
    });
    everyStep([
      ...regions,
      () => {
        this.#onClose(this);
        const result = this.#library.deallocPd(this.#address);
        if (result !== 0) throw verbsError("ibv_dealloc_pd", this.#name, { returned: result });
      },
    ]);
  }

  [dispose](): void {
    this.close();
  }

  #register(buffer: NativeDmaBuf, { slice, iova, access }: VerbsMrRequest): Address {
    const { offset, length } = slice;
    const at = iova ?? offset;
    const mr = this.#library.regDmaBufMr(this.#address, offset, length, at, buffer.fd, access);
    if (mr === 0n) throw verbsError("ibv_reg_dmabuf_mr", this.#name);
    return mr;
  }

  /** The keys of a region just made, which ends where they cannot be read: nobody else knows of it. */
  #keysOf(mr: Address): { readonly lkey: number; readonly rkey: number } {
    try {
      const fields = this.#library.peek(mr, MR.length);
      return { lkey: fields.getUint32(MR.lkey, true), rkey: fields.getUint32(MR.rkey, true) };
    } catch (error) {
      this.#library.deregMr(mr);
      throw error;
    }
  }
}

/** A memory region over a dma-buf. */
export class VerbsMr implements Disposable {
  /** Local key, by which this process's work requests name the region. */
  readonly lkey: number;
  /** Remote key, by which a peer names it. */
  readonly rkey: number;
  /** `ibv_access_flags` it was registered with. */
  readonly access: number;
  readonly #end: () => void;
  #live = true;

  /** @internal Made by {@link VerbsPd.regDmaBufMr}. */
  constructor(
    keys: { readonly lkey: number; readonly rkey: number; readonly access: number },
    end: () => void,
  ) {
    this.lkey = keys.lkey;
    this.rkey = keys.rkey;
    this.access = keys.access;
    this.#end = end;
  }

  /** `ibv_dereg_mr`. Twice is harmless. */
  dereg(): void {
    if (!this.#live) return;
    this.#live = false;
    this.#end();
  }

  [dispose](): void {
    this.dereg();
  }
}

function withList<T>(library: VerbsLibrary, use: (devices: readonly Address[]) => T): T {
  const list = library.getDeviceList();
  if (list === 0n) {
    throw verbsError("ibv_get_device_list", "the kernel's RDMA devices", {
      hint: "modprobe ib_uverbs: the kernel's user verbs are not loaded",
    });
  }
  try {
    const devices: Address[] = [];
    for (let at = list; ; at += BigInt(POINTER)) {
      const device = library.peek(at, POINTER).getBigUint64(0, true);
      if (device === 0n) break;
      devices.push(device);
    }
    return use(devices);
  } finally {
    library.freeDeviceList(list);
  }
}

function regCauses(name: string, slice: Slice, buffer: NativeDmaBuf): Causes {
  const part = `[${hex(slice.offset)}, +${hex(slice.length)})`;
  return {
    EOPNOTSUPP: {
      reason: `the driver of ${name} has no dma-buf support, or cannot let go when ${buffer.ops.name} revokes`,
      hint: "mlx5 (with ON_DEMAND) and irdma can import vfio's buffers; rxe, siw and others cannot",
      rule: "rdma-umem section 1, vfio-pci-dmabuf R10",
    },
    EINVAL: {
      reason: `${part} is not inside the buffer of ${hex(buffer.size)} bytes, or the peer is not reachable`,
      hint: "peerbar why PROVIDER CLIENT says whether it is",
      rule: "rdma-umem R1, R6",
    },
    ENODEV: {
      reason: "the exporter has revoked the buffer",
      hint: "memory access of its device is off, or its file closed",
      rule: "rdma-umem R20",
    },
  };
}
