import { setTimeout } from "node:timers/promises";
import { DmaBuf, type ExporterOps } from "@peerbar/core";
import {
  adoptFd,
  close,
  ioctl,
  ioctlStruct,
  iocW,
  iocWR,
  open,
  openFds,
  plain,
  request,
  struct,
} from "@peerbar/linux";
import { afterEach, describe, expect, it } from "vitest";
import { createUdmabuf, NativeSyncFile } from "../src/index.js";
import { labDevices, nothingOpen } from "./machine.js";

labDevices();
afterEach(nothingOpen);

/** drivers/dma-buf/sw_sync.c: a timeline that user space moves, and fences on it. */
const create = struct("sw_sync_create_fence_data", [
  ["value", "u32"],
  ["name", ["u8", 32]],
  ["fence", "s32"],
]);
const CREATE_FENCE = request("SW_SYNC_IOC_CREATE_FENCE", iocWR("W", 0, create.size), create);
const INCREMENT = plain("SW_SYNC_IOC_INC", iocW("W", 1, 4));

class Timeline {
  readonly #fd = open("/sys/kernel/debug/sync/sw_sync");

  /** A fence that signals once the timeline has come to `value`. */
  fence(value: number): NativeSyncFile {
    const { out } = ioctlStruct(this.#fd, CREATE_FENCE, { value });
    return new NativeSyncFile(adoptFd(out.fence, "sync_file of sw_sync"));
  }

  advance(by: number): void {
    ioctl(this.#fd, INCREMENT, new Uint8Array(Uint32Array.of(by).buffer));
  }

  close(): void {
    close(this.#fd);
  }
}

const model: ExporterOps = {
  name: "model",
  offers: () => [],
  map: () => {
    throw new Error("never mapped");
  },
  unmap: () => undefined,
  release: () => undefined,
};

describe("sync files of the kernel", () => {
  it("a fence goes into a buffer of the kernel and comes out of it, closed files or not (dma-buf R45, R46)", async () => {
    const timeline = new Timeline();
    const buffer = createUdmabuf(0x1000n);
    const fence = timeline.fence(1);
    await buffer.importSyncFile(fence, "write");
    fence.close();
    const out = buffer.exportSyncFile("read");
    out.close();
    expect([fence.fence.signaled, out.fence.signaled]).toEqual([false, false]);
    // Both descriptors are kept for the two fences.
    expect(openFds()).toHaveLength(4);
    let done = false;
    const waited = Promise.all([fence.fence.wait(), out.fence.wait()]).then(() => (done = true));
    await setTimeout(200);
    expect(done).toBe(false);
    timeline.advance(1);
    await waited;
    expect([fence.fence.error, out.fence.error]).toEqual([undefined, undefined]);
    expect(openFds()).toHaveLength(2);
    timeline.close();
    buffer.close();
  });

  it("two of one timeline are both waited for in a buffer of this process (dma-buf R37)", async () => {
    const timeline = new Timeline();
    const buffer = DmaBuf.export({ ops: model, size: 0x1000n });
    const [late, soon] = [timeline.fence(2), timeline.fence(1)];
    await buffer.importSyncFile(late, "write");
    await buffer.importSyncFile(soon, "write");
    const order: string[] = [];
    const access = buffer.beginCpuAccess("from-device").then(() => order.push("access"));
    timeline.advance(1);
    await soon.fence.wait();
    expect(buffer.reservation.pending("write")).toEqual([late.fence]);
    order.push("late");
    timeline.advance(1);
    await access;
    expect(order).toEqual(["late", "access"]);
    late.close();
    soon.close();
    timeline.close();
    buffer.close();
  });
});
