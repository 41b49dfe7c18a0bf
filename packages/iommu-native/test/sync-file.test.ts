import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { DmaBuf, type ExporterOps, isDmaBufError, MicrotaskScheduler } from "@peerbar/core";
import { close, eventfd, F_DUPFD_CLOEXEC, fcntl, openFds, writeEventfd } from "@peerbar/linux";
import { afterEach, describe, expect, it, vi } from "vitest";
import { NativeSyncFile } from "../src/index.js";

const ops: ExporterOps = {
  name: "model",
  offers: () => [],
  map: () => {
    throw new Error("never mapped");
  },
  unmap: () => undefined,
  release: () => undefined,
};

/** An eventfd is readable once it was written: to poll(2), what a sync_file is. The second descriptor signals it. */
function pending(scheduler = new MicrotaskScheduler()) {
  const signaller = eventfd();
  const file = new NativeSyncFile(fcntl(signaller, F_DUPFD_CLOEXEC), scheduler);
  return {
    file,
    scheduler,
    signal: () => {
      writeEventfd(signaller);
      close(signaller);
    },
  };
}

const outcome = (wait: Promise<unknown>): Promise<string> =>
  wait.then(
    () => "signalled",
    (error: unknown) => (isDmaBufError(error) ? error.code : String(error)),
  );

afterEach(() => {
  const left = openFds();
  for (const { fd } of left) close(fd);
  expect(left).toEqual([]);
});

describe("fences of the kernel in a buffer of this process", () => {
  it("dma-buf R37, R46: a second sync file does not replace the first, both are waited for", async () => {
    const scheduler = new MicrotaskScheduler();
    const buffer = DmaBuf.export({ ops, size: 0x1000n, scheduler });
    const [one, two] = [pending(scheduler), pending(scheduler)];
    await buffer.importSyncFile(one.file, "write");
    await buffer.importSyncFile(two.file, "write");
    expect(one.file.fence.context).not.toBe(two.file.fence.context);
    expect(buffer.reservation.pending("write")).toEqual([one.file.fence, two.file.fence]);
    const done = buffer.beginCpuAccess("from-device").then(() => "done");
    two.signal();
    await two.file.fence.wait();
    expect(buffer.reservation.pending("write")).toEqual([one.file.fence]);
    one.signal();
    expect(await done).toBe("done");
    one.file.close();
    two.file.close();
  });
});

describe("a sync file that was closed", () => {
  it("keeps its descriptor for the fence until that signals", async () => {
    const { file, signal } = pending();
    const told: string[] = [];
    file.close();
    file.close();
    expect(openFds()).toHaveLength(2);
    expect(file.fence.signaled).toBe(false);
    file.fence.onSignal(() => told.push("callback"));
    file.fence.onSignal(() => told.push("taken back"))();
    const waited = file.fence.wait();
    signal();
    await waited;
    expect(told).toEqual(["callback"]);
    expect(openFds()).toEqual([]);
    expect(file.fence.signaled).toBe(true);
    file.fence.onSignal(() => told.push("late"));
    expect(told.at(-1)).toBe("late");
  });

  it("goes at once where the fence has signalled", () => {
    const { file, signal } = pending();
    signal();
    file.close();
    expect(openFds()).toEqual([]);
    expect(file.fence.signaled).toBe(true);
  });

  it("says EBADF to whoever still uses its number", async () => {
    const { file, signal } = pending();
    file.close();
    expect(() => file.fd).toThrow(expect.objectContaining({ code: "EBADF" }));
    expect(() => {
      file.importInto(0, "read");
    }).toThrow(expect.objectContaining({ code: "EBADF" }));
    signal();
    await file.fence.wait();
  });

  it("does not stay open for a fence that nobody can reach", async () => {
    closedAndForgotten();
    expect(openFds()).toHaveLength(1);
    // The collector is asked through a new context: this one was made without it.
    setFlagsFromString("--expose-gc");
    const collect = runInNewContext("gc") as () => void;
    await vi.waitFor(() => {
      collect();
      expect(openFds()).toEqual([]);
    });
  });
});

/** A file whose fence never signals: the other descriptor is gone. In a function of its own, so that nothing of it stays in reach. */
function closedAndForgotten(): void {
  const signaller = eventfd();
  new NativeSyncFile(fcntl(signaller, F_DUPFD_CLOEXEC)).close();
  close(signaller);
}

describe("waiting for a fence of the kernel", () => {
  it("ends with EINTR and ETIMEDOUT as the options say", async () => {
    const { file, scheduler, signal } = pending();
    const abort = new AbortController();
    const aborted = outcome(file.fence.wait({ signal: abort.signal }));
    abort.abort();
    expect(await aborted).toBe("EINTR");
    const late = outcome(file.fence.wait({ deadlineUs: scheduler.nowUs + 10 }));
    scheduler.advance(10);
    expect(await late).toBe("ETIMEDOUT");
    signal();
    expect(await outcome(file.fence.wait())).toBe("signalled");
    file.close();
    // The poll that was given up sleeps on for a moment, and its descriptor stays so long.
    await vi.waitFor(() => {
      expect(openFds()).toEqual([]);
    });
  });

  it("a descriptor that somebody else closed: the fence has failed with EBADF, and nothing turns", async () => {
    const { file, signal } = pending();
    close(file.fd);
    const { fence } = file;
    await fence.wait();
    expect([fence.signaled, fence.error?.code]).toEqual([true, "EBADF"]);
    file.close();
    signal();
  });
});
