import { DmaBufError } from "@peerbar/core";
import { errnoName, library } from "@peerbar/linux";

/** An address in this process: what C calls a pointer. 0n is NULL. */
export type Address = bigint;

/** The functions of libibverbs that are used, typed; NULL and -1 are looked at by the callers. */
export interface VerbsLibrary {
  getDeviceList(): Address;
  freeDeviceList(list: Address): void;
  getDeviceName(device: Address): string;
  openDevice(device: Address): Address;
  closeDevice(context: Address): number;
  allocPd(context: Address): Address;
  deallocPd(pd: Address): number;
  regDmaBufMr(
    pd: Address,
    offset: bigint,
    length: bigint,
    iova: bigint,
    fd: number,
    access: number,
  ): Address;
  deregMr(mr: Address): number;
  /** Bytes at an address of this process. The caller knows that they are there. */
  peek(address: Address, length: number): DataView;
}

const NAME = "libibverbs.so.1";
let loaded: VerbsLibrary | undefined;

/**
 * libibverbs, loaded on first use.
 *
 * @throws DmaBufError ENOENT where it is not installed; ENOSYS where it is older than `ibv_reg_dmabuf_mr`, or no call can be made at all.
 */
export function verbsLibrary(): VerbsLibrary {
  loaded ??= load(NAME);
  return loaded;
}

/** @internal */
export function load(name: string): VerbsLibrary {
  const ffi = library("ibv");
  let lib: ReturnType<typeof ffi.load>;
  try {
    lib = ffi.load(name);
  } catch (cause) {
    throw new DmaBufError("ENOENT", "dlopen", `${name} is not installed`, {
      hint: "install rdma-core: apt-get install libibverbs1 ibverbs-providers",
      cause,
    });
  }
  const call = (symbol: string, result: string, args: readonly string[]): Call => {
    try {
      return lib.func(symbol, result, [...args]) as Call;
    } catch (cause) {
      throw new DmaBufError("ENOSYS", "dlsym", `${name} has no ${symbol}`, {
        hint: "rdma-core 34 or newer has it",
        cause,
      });
    }
  };
  const pointer = (result: unknown): Address => BigInt(result as number | bigint);
  const P = "uintptr_t";
  const list = call("ibv_get_device_list", P, ["void *"]);
  const free = call("ibv_free_device_list", "void", [P]);
  const nameOf = call("ibv_get_device_name", "str", [P]);
  const open = call("ibv_open_device", P, [P]);
  const close = call("ibv_close_device", "int", [P]);
  const alloc = call("ibv_alloc_pd", P, [P]);
  const dealloc = call("ibv_dealloc_pd", "int", [P]);
  const reg = call("ibv_reg_dmabuf_mr", P, [P, "uint64_t", "size_t", "uint64_t", "int", "int"]);
  const dereg = call("ibv_dereg_mr", "int", [P]);
  return {
    getDeviceList: () => pointer(list(null)),
    freeDeviceList: (at) => void free(at),
    getDeviceName: (device) => String(nameOf(device)),
    openDevice: (device) => pointer(open(device)),
    closeDevice: (context) => Number(close(context)),
    allocPd: (context) => pointer(alloc(context)),
    deallocPd: (pd) => Number(dealloc(pd)),
    regDmaBufMr: (pd, offset, length, iova, fd, access) =>
      pointer(reg(pd, offset, length, iova, fd, access)),
    deregMr: (mr) => Number(dereg(mr)),
    // A copy: the memory is the library's, and may go any time.
    peek: (address, length) => new DataView(ffi.view(address, length).slice(0)),
  };
}

type Call = (...args: unknown[]) => unknown;

/**
 * errno of the call that just failed, as the verb's error.
 *
 * @param options - `returned`: the errno, where the verb returned it.
 */
export function verbsError(
  verb: string,
  what: string,
  options: { readonly returned?: number; readonly hint?: string } = {},
): DmaBufError {
  const { returned = 0, hint } = options;
  const number = returned > 0 ? returned : library(verb).errno();
  return new DmaBufError(errnoName(number) ?? "EIO", verb, what, { hint });
}
