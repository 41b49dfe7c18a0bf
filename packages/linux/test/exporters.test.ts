import { existsSync } from "node:fs";
import { POLLIN, SEEK_END } from "@peerbar/core";
import { afterEach, describe, expect, test } from "vitest";
import {
  adoptFd,
  close,
  dmaBuf,
  dmaHeap,
  F_ADD_SEALS,
  F_SEAL_SHRINK,
  fcntl,
  ioctl,
  ioctlStruct,
  lseek,
  memfdCreate,
  mmap,
  O_CLOEXEC,
  O_RDWR,
  open,
  openFds,
  poll,
  pread,
  syncFile,
  udmabuf,
} from "../src/index.js";

const BYTES = 8192;

afterEach(() => {
  const left = openFds();
  for (const { fd } of left) close(fd);
  expect(left).toEqual([]);
});

/** What every dma-buf of ordinary memory can do, asked through our tables. */
function exercise(fd: number): void {
  expect(lseek(fd, 0, SEEK_END)).toBe(BigInt(BYTES));
  const name = new TextEncoder().encode("peerbar\0");
  ioctl(fd, dmaBuf.DMA_BUF_SET_NAME_B, name);
  const mapping = mmap(fd, { length: BYTES });
  const { DMA_BUF_SYNC_START, DMA_BUF_SYNC_END, DMA_BUF_SYNC_RW } = dmaBuf;
  const sync = (edge: number): number =>
    ioctlStruct(fd, dmaBuf.DMA_BUF_IOCTL_SYNC, { flags: BigInt(edge | DMA_BUF_SYNC_RW) }).result;
  expect(sync(DMA_BUF_SYNC_START)).toBe(0);
  new Uint8Array(mapping.buffer).fill(0x5a);
  expect(sync(DMA_BUF_SYNC_END)).toBe(0);
  mapping.unmap();
  const { out } = ioctlStruct(fd, dmaBuf.DMA_BUF_IOCTL_EXPORT_SYNC_FILE, {
    flags: DMA_BUF_SYNC_RW,
  });
  adoptFd(out.fd, "sync_file");
  const info = ioctlStruct(out.fd, syncFile.SYNC_IOC_FILE_INFO).out;
  expect(info.status).toBe(1);
  expect(poll([{ fd: out.fd, events: POLLIN }])).toEqual([POLLIN]);
  close(out.fd);
}

const heap = "/dev/dma_heap/system";
const haveHeap = existsSync(heap);
if (!haveHeap)
  console.info(`skipped: the heap; runs where ${heap} is (CONFIG_DMABUF_HEAPS_SYSTEM)`);
const haveUdmabuf = existsSync("/dev/udmabuf");
if (!haveUdmabuf) console.info("skipped: udmabuf; runs where /dev/udmabuf is (CONFIG_UDMABUF)");

describe.runIf(haveHeap)("the system heap", () => {
  test("a buffer is made, named, mapped, synchronised and let go", () => {
    const node = open(heap);
    const { out } = ioctlStruct(node, dmaHeap.DMA_HEAP_IOCTL_ALLOC, {
      len: BigInt(BYTES),
      fd_flags: O_RDWR | O_CLOEXEC,
    });
    adoptFd(out.fd, "dma-buf");
    exercise(out.fd);
    close(out.fd);
    close(node);
  });
});

describe.runIf(haveUdmabuf)("udmabuf", () => {
  test("the memfd's bytes are the buffer's", () => {
    const node = open("/dev/udmabuf");
    const memfd = memfdCreate("peerbar-test", BYTES);
    fcntl(memfd, F_ADD_SEALS, F_SEAL_SHRINK);
    const { result } = ioctlStruct(node, udmabuf.UDMABUF_CREATE, {
      memfd,
      flags: udmabuf.UDMABUF_FLAGS_CLOEXEC,
      size: BigInt(BYTES),
    });
    adoptFd(result, "dma-buf");
    exercise(result);
    const first = new Uint8Array(1);
    pread(memfd, first, 0);
    expect(first[0]).toBe(0x5a);
    for (const fd of [result, memfd, node]) close(fd);
  });
});
