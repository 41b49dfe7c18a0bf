import { MicrotaskScheduler } from "@peerbar/core";
import { describe, expect, it } from "vitest";
import { flushQueueDefaults, type MockIommuOptions } from "../src/index.js";
import { BAR, hex, range, reach, setup } from "./fixtures.js";

const PAGE = 4096n;

function lazy(options: MockIommuOptions = {}) {
  const scheduler = new MicrotaskScheduler();
  const one = setup({ mode: "dma-fq", scheduler, ...options });
  const share = (): bigint => {
    const state = one.port.dma.tryAllocIova(PAGE) ?? expect.unreachable("no IOVA");
    one.port.dma.link(state, 0n, range(BAR, PAGE), "bidirectional");
    one.port.dma.destroy(state, PAGE);
    return state.address;
  };
  return { ...one, scheduler, share };
}

describe("a lazy domain", () => {
  it("lets the device reach the old target until the window ends; the IOVA is not free before (dma-iova R13, R14)", () => {
    const one = lazy();
    const address = one.share();
    expect(one.iommu.usage.mappedGranules).toBe(0);
    expect(one.port.iovas).toEqual({ live: 0, cached: 0, queued: 1 });
    one.scheduler.advance(9_999);
    expect(reach(one, address)).toBe(hex(BAR));
    expect(one.share()).not.toBe(address);
    one.scheduler.advance(1);
    expect(reach(one, address)).toBe("not-present");
    expect(one.port.iovas).toEqual({ live: 0, cached: 2, queued: 0 });
  });

  it("keeps the permissions of what is stale (dma-iova R13)", () => {
    const one = lazy();
    const address = one.port.dma.mapPhys(range(BAR, PAGE), "to-device");
    one.port.dma.unmapPhys(address, PAGE, "to-device");
    expect(reach(one, address, false)).toBe(hex(BAR));
    expect(reach(one, address, true)).toBe("not-present");
  });

  it("flushes when the ring is full: 255 wait, the next one makes room (dma-iova R13)", () => {
    const one = lazy();
    const addresses = Array.from({ length: 255 }, () => one.share());
    expect([one.port.iovas.queued, one.iommu.stats.flushes]).toEqual([255, 0]);
    one.share();
    expect([one.port.iovas.queued, one.iommu.stats.flushes]).toEqual([1, 1]);
    expect(reach(one, addresses[0] ?? 0n)).toBe("not-present");
  });

  it("has a longer queue and window where page tables are shadowed (dma-iova R13)", () => {
    const one = lazy({ flushQueue: flushQueueDefaults.shadow });
    const address = one.share();
    one.scheduler.advance(999_999);
    expect(reach(one, address)).toBe(hex(BAR));
    one.scheduler.advance(1);
    expect(reach(one, address)).toBe("not-present");
  });

  it("unlink and free are strict: nothing is queued and nothing stays reachable (dma-iova R13)", () => {
    const one = lazy();
    const { dma } = one.port;
    const state = dma.tryAllocIova(PAGE) ?? expect.unreachable("no IOVA");
    dma.link(state, 0n, range(BAR, PAGE), "bidirectional");
    dma.unlink(state, 0n, PAGE);
    expect(reach(one, state.address)).toBe("not-present");
    dma.free(state);
    expect(one.port.iovas).toEqual({ live: 0, cached: 1, queued: 0 });
  });

  it("takes the time of the flush too, and counts the waiting of strict ones", () => {
    const one = lazy({ flushLatencyUs: 50 });
    const address = one.share();
    one.scheduler.advance(10_049);
    expect(reach(one, address)).toBe(hex(BAR));
    one.scheduler.advance(1);
    expect(reach(one, address)).toBe("not-present");
    expect(one.iommu.stats.flushWaitUs).toBe(50);
    one.share();
    one.port.flush();
    expect(one.port.iovas.queued).toBe(0);
    expect(one.iommu.stats.flushWaitUs).toBe(100);
  });

  it("an overflow frees what an earlier flush is still busy with, once (dma-iova R13)", () => {
    const one = lazy({ flushLatencyUs: 50 });
    const first = one.share();
    one.scheduler.advance(10_000);
    const second = one.share();
    expect(one.port.iovas.queued).toBe(2);
    expect([first, second].map((address) => reach(one, address))).toEqual([hex(BAR), hex(BAR)]);
    for (let i = 0; i < 255; i++) one.share();
    expect([one.port.iovas.queued, one.iommu.stats.flushes]).toEqual([1, 1]);
    expect(reach(one, first)).toBe("not-present");
    const { cached } = one.port.iovas;
    one.scheduler.advance(50);
    expect([one.port.iovas.cached, one.iommu.stats.flushes]).toEqual([cached, 1]);
  });

  it("a strict domain is done when unmap returns (dma-iova R14)", () => {
    const one = lazy({ mode: "dma" });
    const address = one.share();
    expect(reach(one, address)).toBe("not-present");
    expect(one.port.iovas).toEqual({ live: 0, cached: 1, queued: 0 });
  });
});
