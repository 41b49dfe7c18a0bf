import type { KoffiFunc } from "koffi";
import { library } from "./library.js";

/** What a pointer argument may be: memory of ours, an address, or a plain number as some ioctls take. */
export type Pointer = Uint8Array | bigint | number | null;

/** The calls of libc that are used, typed. Sizes and offsets are numbers below 2^53, addresses are bigints or numbers. */
interface Libc {
  readonly open: (path: string, flags: number, mode: number) => number;
  readonly close: (fd: number) => number;
  readonly ioctl: KoffiFunc<(fd: number, request: number, arg: Pointer) => number>;
  readonly pread: KoffiFunc<(fd: number, into: Uint8Array, size: number, offset: number) => number>;
  readonly pwrite: KoffiFunc<
    (fd: number, from: Uint8Array, size: number, offset: number) => number
  >;
  readonly read: (fd: number, into: Uint8Array, size: number) => number;
  readonly write: (fd: number, from: Uint8Array, size: number) => number;
  readonly lseek: (fd: number, offset: number, whence: number) => number | bigint;
  readonly fcntl: (fd: number, command: number, arg: number) => number;
  readonly ftruncate: (fd: number, length: number) => number;
  readonly mmap: (
    address: number | bigint,
    length: number,
    protection: number,
    flags: number,
    fd: number,
    offset: number,
  ) => number | bigint;
  readonly munmap: (address: number | bigint, length: number) => number;
  readonly eventfd: (initial: number, flags: number) => number;
  readonly memfd_create: (name: string, flags: number) => number;
  readonly poll: KoffiFunc<(fds: Uint8Array, count: number, timeout: number) => number>;
}

let bound: Libc | undefined;

/**
 * libc's calls, bound once. They return -1 and leave errno in koffi, as C does.
 *
 * @throws DmaBufError ENOSYS where no call can be made, in the name of `syscall`.
 */
export function libc(syscall: string): Libc {
  bound ??= bind(syscall);
  return bound;
}

function bind(syscall: string): Libc {
  // `null` is the running program: its libc, be it glibc or musl.
  const program = library(syscall).load(null);
  const call = (name: string, result: string, args: readonly string[]): never =>
    program.func(name, result, [...args]) as never;
  return {
    // Variadic in C; the mode always goes along, and the ABIs we run on pass it the same way.
    open: call("open", "int", ["str", "int", "uint"]),
    close: call("close", "int", ["int"]),
    ioctl: call("ioctl", "int", ["int", "ulong", "void *"]),
    pread: call("pread", "int64_t", ["int", "void *", "size_t", "int64_t"]),
    pwrite: call("pwrite", "int64_t", ["int", "void *", "size_t", "int64_t"]),
    read: call("read", "int64_t", ["int", "void *", "size_t"]),
    write: call("write", "int64_t", ["int", "void *", "size_t"]),
    lseek: call("lseek", "int64_t", ["int", "int64_t", "int"]),
    fcntl: call("fcntl", "int", ["int", "int", "long"]),
    ftruncate: call("ftruncate", "int", ["int", "int64_t"]),
    mmap: call("mmap", "intptr_t", ["uintptr_t", "size_t", "int", "int", "int", "int64_t"]),
    munmap: call("munmap", "int", ["uintptr_t", "size_t"]),
    eventfd: call("eventfd", "int", ["uint", "int"]),
    memfd_create: call("memfd_create", "int", ["str", "uint"]),
    poll: call("poll", "int", ["void *", "ulong", "int"]),
  };
}
