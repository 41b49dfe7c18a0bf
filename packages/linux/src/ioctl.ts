import { DmaBufError } from "@peerbar/core";
import { failure, lastErrno } from "./errno.js";
import { hintFor } from "./hint.js";
import { libc, type Pointer } from "./libc.js";
import { offMainThread } from "./off-main-thread.js";
import { describeFd } from "./open-fds.js";
import type { Request, StructRequest } from "./request.js";
import type { FieldSpec, StructValues } from "./struct.js";

/**
 * ioctl(2). `arg` is the struct's bytes, which the kernel reads and writes in place; for requests without a struct a number or bytes.
 * Returns the ioctl's result, 0 or more.
 *
 * @throws DmaBufError with the ioctl's errno, in its own name; EINVAL where `arg` is shorter than the struct.
 */
export function ioctl(fd: number, request: Request, arg: Pointer = 0): number {
  requireRoom(request, arg);
  const result = libc(request.name).ioctl(fd, request.number, arg);
  if (result < 0) throw ioctlFailure(fd, request);
  return result;
}

/**
 * The same off the main thread, for what may wait: a reset, a revoke that drains, a bind. `arg` belongs to the kernel until the promise
 * settles. It cannot be aborted: the ioctls themselves cannot.
 */
export async function ioctlAsync(fd: number, request: Request, arg: Pointer = 0): Promise<number> {
  requireRoom(request, arg);
  return offMainThread(libc(request.name).ioctl, [fd, request.number, arg], (result) => {
    if (result < 0) throw ioctlFailure(fd, request);
    return result;
  });
}

/** What {@link ioctlStruct} gives back: the ioctl's result, and the struct as the kernel left it. */
export interface IoctlAnswer<F extends readonly FieldSpec[]> {
  /** What the system call returned: 0 or more. */
  readonly result: number;
  readonly out: StructValues<F>;
}

/** Encodes `values`, makes the call, decodes what the kernel wrote. Fields left out are 0; `size` and `argsz` fill themselves in. */
export function ioctlStruct<F extends readonly FieldSpec[]>(
  fd: number,
  request: StructRequest<F>,
  values: Partial<StructValues<F>> = {},
): IoctlAnswer<F> {
  const { struct } = request;
  // A synchronous call is over before the next begins, so each struct has bytes of its own to be used again.
  let bytes = scratch.get(struct);
  if (bytes === undefined) {
    bytes = new Uint8Array(struct.size);
    scratch.set(struct, bytes);
  }
  struct.encode(values, bytes);
  const result = ioctl(fd, request, bytes);
  return { result, out: struct.decode(bytes) };
}

const scratch = new WeakMap<object, Uint8Array>();

function ioctlFailure(fd: number, request: Request): DmaBufError {
  const errno = lastErrno(request.name);
  const what = describeFd(fd);
  return failure(request.name, errno, { what, hint: hintFor(request.name, errno, what) });
}

/** The kernel believes the size in the request: fewer bytes would be somebody else's memory. */
function requireRoom(request: Request, arg: Pointer): void {
  const size = request.struct?.size ?? 0;
  if (arg instanceof Uint8Array && arg.byteLength < size)
    throw new DmaBufError(
      "EINVAL",
      request.name,
      `${arg.byteLength} bytes, struct ${request.struct?.name ?? ""} has ${size}`,
    );
}
