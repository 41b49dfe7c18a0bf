import { readFileSync } from "node:fs";
import { setImmediate as turn } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { type DmaBufError, isDmaBufError, POLLIN, SEEK_END, SEEK_SET } from "@peerbar/core";
import { afterEach, describe, expect, test } from "vitest";
import {
  addressOf,
  close,
  eventfd,
  F_ADD_SEALS,
  F_DUPFD_CLOEXEC,
  F_GET_SEALS,
  F_GETFD,
  F_SEAL_SHRINK,
  FD_CLOEXEC,
  fcntl,
  ioctl,
  ioctlAsync,
  ioctlStruct,
  iommufd,
  lseek,
  MAX_MAPPING_BYTES,
  memfdCreate,
  mmap,
  mmapAnonymous,
  O_RDONLY,
  O_RDWR,
  open,
  openFds,
  POLLNVAL,
  platformProblem,
  poll,
  pollAsync,
  pread,
  pwrite,
  readEventfd,
  writeEventfd,
} from "../src/index.js";

const problem = platformProblem();
if (problem) console.info(`skipped: system calls; ${problem.reason}: ${problem.hint}`);

function failureOf(call: () => unknown): DmaBufError {
  try {
    call();
  } catch (error) {
    if (isDmaBufError(error)) return error;
    throw error;
  }
  throw new Error("the call went through");
}

const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values);

describe.skipIf(problem)("system calls of the running kernel", () => {
  afterEach(() => {
    const left = openFds();
    for (const { fd } of left) close(fd);
    expect(left).toEqual([]);
  });

  test("what is written by pwrite is in the mapping, and the other way round", () => {
    const fd = memfdCreate("peerbar-test", 8192);
    const mapping = mmap(fd, { length: 4096, offset: 4096 });
    const view = new Uint8Array(mapping.buffer);
    expect(view).toHaveLength(4096);
    expect(pwrite(fd, bytes(1, 2, 3), 4096)).toBe(3);
    expect([...view.subarray(0, 4)]).toEqual([1, 2, 3, 0]);
    view[4095] = 9;
    const last = new Uint8Array(2);
    expect(pread(fd, last, 8191)).toBe(1);
    expect(last[0]).toBe(9);
    expect(lseek(fd, 0, SEEK_END)).toBe(8192n);
    expect(lseek(fd, 0n, SEEK_SET)).toBe(0n);
    mapping.unmap();
    close(fd);
  });

  test("a mapping that is not shared keeps its writes to itself", () => {
    const fd = memfdCreate("peerbar-test", 4096);
    const mapping = mmap(fd, { length: 4096, shared: false });
    new Uint8Array(mapping.buffer)[0] = 5;
    const first = bytes(7);
    pread(fd, first, 0);
    expect(first[0]).toBe(0);
    mapping.unmap();
    close(fd);
  });

  test("after unmap a late access neither crashes nor reaches the file", () => {
    const fd = memfdCreate("peerbar-test", 1 << 20);
    const mapping = mmap(fd, { length: 1 << 20 });
    const view = new Uint8Array(mapping.buffer);
    view.fill(0xaa);
    mapping.unmap();
    mapping.unmap();
    expect(view[0] ?? 0).toBe(0);
    for (let at = 0; at < 1 << 20; at += 4096) view[at] = 0x55;
    const after = bytes(0);
    pread(fd, after, 0);
    expect(after[0]).toBe(0xaa);
    close(fd);
  });

  test("the file is let go by unmap itself, not by the collector", () => {
    const fd = memfdCreate("peerbar-let-go", 4096);
    const mapping = mmap(fd, { length: 4096 });
    const mapped = (): boolean =>
      readFileSync("/proc/self/maps", "utf8").includes("memfd:peerbar-let-go");
    expect(mapped()).toBe(true);
    mapping.unmap();
    expect(mapped()).toBe(false);
    expect(mapping.length).toBe(4096);
    close(fd);
  });

  test("mappings that are forgotten, and the zeros left by unmap, go with the collector", async () => {
    setFlagsFromString("--expose-gc");
    const collect = runInNewContext("gc") as () => void;
    const length = 1 << 30; // sparse, and larger than anything else that is mapped here for writing
    const fd = memfdCreate("peerbar-forgotten", length);
    const mapped = (): number =>
      readFileSync("/proc/self/maps", "utf8")
        .split("\n")
        .filter((line) => {
          const [range = "", rights = ""] = line.split(" ");
          const [low, high] = range.split("-").map((text) => Number.parseInt(text, 16));
          return rights.startsWith("rw") && (high ?? 0) - (low ?? 0) >= length;
        }).length;
    const before = mapped();
    const make = (): void => {
      mmap(fd, { length });
      mmap(fd, { length, offset: 0 }).unmap();
    };
    make();
    expect(mapped()).toBeGreaterThan(before);
    // The registry runs in a turn of its own; how many turns is V8's business, so a lost cause ends by the test's limit.
    while (mapped() > before) {
      collect();
      await turn();
    }
    close(fd);
  });

  test("lengths that would crash or cannot be are refused", () => {
    const fd = memfdCreate("peerbar-test", 4096);
    for (const length of [0, -1, 1.5, Number.NaN, MAX_MAPPING_BYTES + 1])
      expect(failureOf(() => mmap(fd, { length })).code).toBe("EINVAL");
    expect(failureOf(() => mmap(fd, { length: 4096, offset: 17 })).code).toBe("EINVAL");
    const short = failureOf(() => mmap(fd, { length: 8192 }));
    expect([short.code, short.hint]).toEqual(["EINVAL", "ftruncate it to its full length first"]);
    close(fd);
    expect(failureOf(() => mmap(fd, { length: 4096 })).code).toBe("EBADF");
    const readable = open("/dev/zero", O_RDONLY);
    expect(failureOf(() => mmap(readable, { length: 4096 })).code).toBe("EACCES");
    close(readable);
  });

  test("anonymous memory has the address that structs want", () => {
    const mapping = mmapAnonymous(8192);
    expect(addressOf(new Uint8Array(mapping.buffer))).toBe(mapping.address);
    expect(mapping.address % 4096n).toBe(0n);
    mapping.unmap();
  });

  test("eventfd and poll: ready exactly while the counter is not 0", () => {
    const fd = eventfd();
    expect(poll([{ fd, events: POLLIN }])).toEqual([0]);
    expect(failureOf(() => readEventfd(fd)).code).toBe("EAGAIN");
    writeEventfd(fd, 3n);
    writeEventfd(fd);
    expect(poll([{ fd, events: POLLIN }])).toEqual([POLLIN]);
    expect(readEventfd(fd)).toBe(4n);
    expect(
      poll([
        { fd, events: POLLIN },
        { fd: 100_000, events: POLLIN },
      ]),
    ).toEqual([0, POLLNVAL]);
    close(fd);
  });

  test("a call that waits for ever leaves the event loop alive: what it waits for is written by the main thread", async () => {
    const fd = eventfd();
    let settled = false;
    const waiting = pollAsync([{ fd, events: POLLIN }]).then((ready) => {
      settled = true;
      return ready;
    });
    await turn();
    await turn();
    expect(settled).toBe(false);
    writeEventfd(fd);
    expect(await waiting).toEqual([POLLIN]);
    close(fd);
  });

  test("errno belongs to its own call, however many are in flight", async () => {
    const nothing = open("/dev/null", O_RDWR);
    const codes = await Promise.all(
      Array.from({ length: 200 }, (_, index) =>
        ioctlAsync(index % 2 ? nothing : -1, iommufd.IOMMU_IOAS_ALLOC, new Uint8Array(12)).then(
          () => "0",
          (error: unknown) => {
            // A synchronous failure in between must not be mistaken for it.
            failureOf(() => pread(nothing, new Uint8Array(1), -1));
            return isDmaBufError(error) ? error.code : String(error);
          },
        ),
      ),
    );
    expect(codes).toEqual(codes.map((_, index) => (index % 2 ? "ENOTTY" : "EBADF")));
    close(nothing);
  });

  test("an ioctl's error has its own name, the errno, the file and the next step", () => {
    const fd = open("/dev/null", O_RDWR);
    const error = failureOf(() => ioctlStruct(fd, iommufd.IOMMU_IOAS_MAP_FILE));
    expect(error.code).toBe("ENOTTY");
    expect(error.errno).toBe(-25);
    expect(error.syscall).toBe("IOMMU_IOAS_MAP_FILE");
    expect(error.message).toContain("/dev/null");
    expect(error.hint).toContain("does not know IOMMU_IOAS_MAP_FILE");
    close(fd);
    expect(failureOf(() => ioctl(fd, iommufd.IOMMU_IOAS_ALLOC, new Uint8Array(12))).code).toBe(
      "EBADF",
    );
  });

  test("too few bytes for a struct never reach the kernel", async () => {
    const short = failureOf(() => ioctl(0, iommufd.IOMMU_IOAS_MAP, new Uint8Array(39)));
    expect([short.code, short.syscall]).toEqual(["EINVAL", "IOMMU_IOAS_MAP"]);
    const settled = await ioctlAsync(0, iommufd.IOMMU_IOAS_MAP, new Uint8Array(39)).then(
      () => "0",
      (error: unknown) => (isDmaBufError(error) ? error.code : error),
    );
    expect(settled).toBe("EINVAL");
  });

  test("open says which module is missing", () => {
    const error = failureOf(() => open("/dev/dma_heap/peerbar-absent"));
    expect([error.code, error.syscall]).toEqual(["ENOENT", "openat"]);
    expect(error.hint).toContain("modprobe system_heap");
  });

  test("closing twice says EBADF, and the table forgets at once", () => {
    const fd = open("/dev/null");
    expect(openFds()).toEqual([{ fd, what: "/dev/null" }]);
    close(fd);
    expect(openFds()).toEqual([]);
    expect(failureOf(() => close(fd)).code).toBe("EBADF");
  });

  test("descriptors are close-on-exec, copies too; a memfd can be sealed", () => {
    const fd = memfdCreate("peerbar-test", 4096);
    const copy = fcntl(fd, F_DUPFD_CLOEXEC);
    expect(fcntl(fd, F_GETFD) & FD_CLOEXEC).toBe(FD_CLOEXEC);
    expect(fcntl(copy, F_GETFD) & FD_CLOEXEC).toBe(FD_CLOEXEC);
    expect(openFds().map(({ what }) => what)).toContain(`copy of fd ${fd} (memfd peerbar-test)`);
    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK);
    expect(fcntl(copy, F_GET_SEALS)).toBe(F_SEAL_SHRINK);
    close(copy);
    close(fd);
  });
});
