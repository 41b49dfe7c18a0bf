import { type DmaBufEvent, SEEK_END } from "@peerbar/core";
import { close, memfdCreate, openFds } from "@peerbar/linux";
import { afterEach, describe, expect, it } from "vitest";
import { NativeDmaBuf, NativeSyncFile } from "../src/index.js";

/** A memfd stands in for a dma-buf: it has a size, pages, and no ioctls. */
function bufferOf(pages: number, options: { readonly events?: (event: DmaBufEvent) => void } = {}) {
  const emit = options.events;
  const events = emit && { emit };
  return new NativeDmaBuf({ name: "memory", fd: memfdCreate("buffer", pages * 0x1000), events });
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

afterEach(() => {
  const left = openFds();
  for (const { fd } of left) close(fd);
  expect(left).toEqual([]);
});

describe("a buffer that was released", () => {
  it("says EBADF, whosever file has its number by then", async () => {
    const buffer = bufferOf(2);
    buffer.close();
    const sync = new NativeSyncFile(memfdCreate("sync", 0));
    const uses = [
      () => buffer.fd,
      () => buffer.seek(0n, SEEK_END),
      () => {
        buffer.setName("late");
      },
      () => buffer.exportSyncFile("rw"),
      () => buffer.mmap({ offset: 0n, length: 0x1000n }),
    ];
    const all = async (): Promise<void> => {
      for (const use of uses) expect(use).toThrow(expect.objectContaining({ code: "EBADF" }));
      await expect(buffer.importSyncFile(sync, "read")).rejects.toMatchObject({ code: "EBADF" });
    };
    // Closed is the descriptor a turn later.
    await all();
    await turn();
    // Gets the number, unless another thread was faster.
    const stranger = memfdCreate("stranger", 0x5000);
    await all();
    close(stranger);
    sync.close();
  });

  it("a name that the kernel refuses is not set here either (dma-buf R44)", () => {
    const buffer = bufferOf(1);
    expect(() => {
      buffer.setName("x");
    }).toThrow(expect.objectContaining({ code: "ENOTTY" }));
    expect(buffer.name).toBeUndefined();
    buffer.close();
    return turn();
  });
});

describe("a descriptor that cannot be wrapped", () => {
  it("is closed where it was adopted, and the caller's where it was only given", () => {
    const empty = (): number => memfdCreate("empty", 0);
    const refused = expect.objectContaining({ code: "EINVAL", rule: "dma-buf R1" }) as unknown;
    expect(() => NativeDmaBuf.adopt(empty(), { name: "memory" })).toThrow(refused);
    expect(openFds()).toEqual([]);
    const fd = empty();
    expect(() => new NativeDmaBuf({ fd, name: "memory" })).toThrow(refused);
    expect(openFds()).toHaveLength(1);
    close(fd);
  });
});

describe("a window of a buffer (dma-buf R50)", () => {
  it("keeps it, and is told of in whole pages, once each", async () => {
    const told: string[] = [];
    const events = (event: DmaBufEvent): void => {
      if (event.type === "mmap" || event.type === "munmap") {
        told.push(`${event.type} ${String(event.size)}`);
      }
      if (event.type === "release") told.push("release");
    };
    const buffer = bufferOf(2, { events });
    const window = buffer.mmap({ offset: 0x1000n, length: 0x10n });
    buffer.close();
    await turn();
    window.bytes[0] = 1;
    window.unmap();
    window.unmap();
    await turn();
    expect(told).toEqual(["mmap 4096", "munmap 4096", "release"]);
  });

  it("leaves nothing where it cannot be mapped", async () => {
    const told: string[] = [];
    const buffer = bufferOf(1, { events: ({ type }) => told.push(type) });
    expect(() => buffer.mmap({ offset: 0x1000n, length: 0x1000n })).toThrow(
      expect.objectContaining({ code: "EINVAL" }),
    );
    expect(buffer.references).toBe(1);
    expect(told).not.toContain("mmap");
    buffer.close();
    await turn();
  });
});
