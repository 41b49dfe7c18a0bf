import { FenceContext } from "@peerbar/core";
import { describe, expect, it } from "vitest";
import { errorOf, refusal, settle } from "./fixtures/errors.js";
import { DynamicImporter, fakeDevice } from "./fixtures/fake-importer.js";
import { ONE_PAGE, type Rig, rig } from "./fixtures/rig.js";

const NIC = "0000:3c:00.0";

/** Types of the events of one run, those of locks left out. */
function story({ events }: Rig): string[] {
  return events.map((event) => event.type).filter((type) => type !== "lock" && type !== "unlock");
}

describe("the order of a revoke", () => {
  it("vfio-pci-dmabuf R16, R18, known-bugs B12: flag, then invalidate: a map from inside or right after is ENODEV", async () => {
    const all = await rig();
    using buffer = await all.device.exportDmaBuf(ONE_PAGE);
    const importer = new DynamicImporter(buffer, fakeDevice(NIC));
    await importer.map();
    const refusals: unknown[] = [];
    importer.duringInvalidate = (held) => {
      try {
        importer.mapHeld(held);
        refusals.push("mapped");
      } catch (error) {
        refusals.push((error as { code?: string }).code);
      }
    };
    await all.device.writeConfig(4, 2, 0);
    expect(refusals).toEqual(["ENODEV"]);
    importer.duringInvalidate = undefined;
    expect(await refusal(() => importer.map())).toBe("ENODEV vfio-pci-dmabuf R12");
    await importer.leave();
    expect(story(all)).toEqual([
      ...["export", "attach-kind", "attach", "map", "trigger"],
      ...["revoke", "invalidate", "refuse", "unmap", "drained", "refuse", "detach"],
    ]);
  });

  it.each(["kernel", "write", "read", "bookkeep"] as const)(
    "known-bugs B2, B3: waits for %s fences, with the reservation held and the device still on",
    async (usage) => {
      const { device, fn, scheduler } = await rig();
      using buffer = await device.exportDmaBuf(ONE_PAGE);
      const fence = new FenceContext(1, "copy", scheduler).next();
      const held = buffer.reservation.lockNow();
      buffer.reservation.reserveFences(held, 1);
      buffer.reservation.addFence(held, fence, usage);
      held.release();
      const reset = device.reset();
      await settle();
      expect(fn.log).not.toContain("reset");
      expect(device.draining).toEqual([
        { buffer: buffer.label, waitsFor: "fences", mappings: 0, fences: 1 },
      ]);
      expect(buffer.reservation.isLocked).toBe(true);
      fence.signal();
      await reset;
      expect(fn.log).toContain("reset");
    },
  );

  it("known-bugs B2: a fence that an importer adds while it is told counts, too: invalidate comes before the wait", async () => {
    const { device, fn, scheduler } = await rig();
    using buffer = await device.exportDmaBuf(ONE_PAGE);
    const importer = new DynamicImporter(buffer, fakeDevice(NIC));
    const fence = new FenceContext(1, "unmap", scheduler).next();
    importer.duringInvalidate = (held) => {
      importer.duringInvalidate = undefined;
      buffer.reservation.reserveFences(held, 1);
      buffer.reservation.addFence(held, fence, "bookkeep");
    };
    await importer.map();
    const reset = device.reset();
    await settle();
    expect(fn.log).not.toContain("reset");
    fence.signal();
    await reset;
    expect(fn.log).toContain("reset");
    await importer.leave();
  });

  it("vfio-pci-dmabuf R13, known-bugs B2, B61: waits until every mapping is gone, the last one ends it", async () => {
    const { device, fn } = await rig();
    using buffer = await device.exportDmaBuf(ONE_PAGE);
    const importer = new DynamicImporter(buffer, fakeDevice(NIC));
    importer.slow = true;
    await importer.map();
    await importer.map();
    const reset = device.reset();
    await settle();
    expect(device.draining).toEqual([
      { buffer: buffer.label, waitsFor: "mappings", mappings: 2, fences: 0 },
    ]);
    expect(fn.log).not.toContain("reset");
    const held = await buffer.reservation.lock();
    const first = importer.tables.shift();
    if (first !== undefined) importer.attachment.unmap(first, "bidirectional", held);
    held.release();
    await settle();
    expect(device.draining[0]?.mappings).toBe(1);
    await importer.unmap();
    await reset;
    expect(device.draining).toEqual([]);
    expect(fn.log).toContain("reset");
    await importer.leave();
  });

  it("vfio-pci-dmabuf R14: each mapping counts, also several of one attachment", async () => {
    const { device } = await rig();
    using buffer = await device.exportDmaBuf(ONE_PAGE);
    const importer = new DynamicImporter(buffer, fakeDevice(NIC));
    const tables = [await importer.map(), await importer.map(), await importer.map()];
    expect(new Set(tables).size).toBe(3);
    expect(importer.attachment.mappings).toBe(3);
    await device.writeConfig(4, 2, 0);
    expect(importer.attachment.mappings).toBe(0);
    await importer.leave();
  });

  it("vfio-pci-dmabuf R17, known-bugs B1: three times off and on, with mappings in between, then close", async () => {
    const { device } = await rig();
    using buffer = await device.exportDmaBuf(ONE_PAGE);
    const importer = new DynamicImporter(buffer, fakeDevice(NIC));
    for (let round = 0; round < 3; round++) {
      await importer.map();
      await device.writeConfig(4, 2, 0);
      await device.writeConfig(4, 2, 0);
      expect(await refusal(() => importer.map())).toMatch(/^ENODEV/);
      await device.writeConfig(4, 2, 2);
    }
    await importer.map();
    await device.writeConfig(4, 2, 0);
    await device.close();
    await importer.leave();
  });

  it("step 2: a second revoke of a revoked buffer tells nobody", async () => {
    const { device } = await rig();
    using buffer = await device.exportDmaBuf(ONE_PAGE);
    const importer = new DynamicImporter(buffer, fakeDevice(NIC));
    await device.writeConfig(4, 2, 0);
    await device.writeConfig(4, 2, 0);
    expect(importer.invalidated).toBe(1);
    await device.writeConfig(4, 2, 2);
    expect(importer.invalidated).toBe(2);
    await device.writeConfig(4, 2, 2);
    expect(importer.invalidated).toBe(2);
    await importer.leave();
  });

  it("step 5: an un-revoke invalidates first, while map is still refused", async () => {
    const { device } = await rig();
    using buffer = await device.exportDmaBuf(ONE_PAGE);
    const importer = new DynamicImporter(buffer, fakeDevice(NIC));
    await device.writeConfig(4, 2, 0);
    let code: unknown;
    importer.duringInvalidate = (held) => {
      try {
        importer.mapHeld(held);
      } catch (error) {
        code = (error as { code?: string }).code;
      }
    };
    await device.writeConfig(4, 2, 2);
    expect(code).toBe("ENODEV");
    importer.duringInvalidate = undefined;
    expect((await importer.map()).entries).toBe(1);
    await importer.leave();
  });

  it("step 1, vfio-pci-dmabuf R15: a released buffer is left alone, and leaves the list once the lock is free", async () => {
    const { device, fn } = await rig();
    const buffer = await device.exportDmaBuf(ONE_PAGE);
    let during = -1;
    fn.duringReset = async () => {
      buffer.close();
      await settle();
      during = device.buffers;
    };
    await device.reset();
    expect(during).toBe(1);
    await settle();
    expect([device.buffers, device.registrations]).toEqual([0, 1]);
  });

  it("vfio-pci-dmabuf R15: release takes the buffer off the device and gives the registration back", async () => {
    const { device } = await rig();
    const buffer = await device.exportDmaBuf(ONE_PAGE);
    expect(device.registrations).toBe(2);
    buffer.close();
    expect(device.registrations).toBe(2);
    await settle();
    expect([device.buffers, device.registrations]).toEqual([0, 1]);
  });
});

describe("giving up", () => {
  const stuck = async (): Promise<Rig & { importer: DynamicImporter; buffer: string }> => {
    const all = await rig();
    const buffer = await all.device.exportDmaBuf(ONE_PAGE);
    const importer = new DynamicImporter(buffer, fakeDevice(NIC));
    importer.slow = true;
    await importer.map();
    return { ...all, importer, buffer: buffer.label };
  };

  it("a cancelled reset leaves the buffers revoked, says so, and has not reset", async () => {
    const { device, fn, importer, buffer } = await stuck();
    const abort = new AbortController();
    const reset = device.reset({ signal: abort.signal });
    await settle();
    abort.abort();
    const error = await errorOf(() => reset);
    expect(error.code).toBe("EINTR");
    expect(error.reason).toContain(`${buffer} (1 mapping left)`);
    expect(fn.log).not.toContain("reset");
    expect(await refusal(() => importer.map())).toMatch(/^ENODEV/);
    expect(device.draining).toEqual([{ buffer, waitsFor: undefined, mappings: 1, fences: 0 }]);
  });

  it("vfio-pci-dmabuf R16: the next reset waits for the same mappings, and ends when they go", async () => {
    const { device, fn, importer } = await stuck();
    const abort = new AbortController();
    const given = device.reset({ signal: abort.signal });
    await settle();
    abort.abort();
    await errorOf(() => given);
    const reset = device.reset();
    await settle();
    expect(fn.log).not.toContain("reset");
    await importer.unmap();
    await reset;
    expect(fn.log).toContain("reset");
    expect((await importer.map()).entries).toBe(1);
    await importer.leave();
  });

  it("memory coming back waits for what a cancelled revoke left, too", async () => {
    const { device, importer } = await stuck();
    const abort = new AbortController();
    const off = device.writeConfig(4, 2, 0, { signal: abort.signal });
    await settle();
    abort.abort();
    await errorOf(() => off);
    let done = false;
    const on = device.writeConfig(4, 2, 2).then(() => (done = true));
    await settle();
    expect(done).toBe(false);
    await importer.unmap();
    await on;
    expect((await importer.map()).entries).toBe(1);
    await importer.leave();
  });

  it("a deadline ends the wait with ETIMEDOUT, in virtual time", async () => {
    const { device, scheduler, importer } = await stuck();
    const reset = device.reset({ deadlineUs: 500 });
    await settle();
    scheduler.advance(500);
    expect((await errorOf(() => reset)).code).toBe("ETIMEDOUT");
    await importer.leave();
  });

  it("a cancelled close is finished by closing again", async () => {
    const { device, importer } = await stuck();
    const abort = new AbortController();
    const close = device.close({ signal: abort.signal });
    await settle();
    abort.abort();
    expect((await errorOf(() => close)).code).toBe("EINTR");
    expect(device.closed).toBe(false);
    expect((await errorOf(() => device.reset())).code).toBe("EBADF");
    await importer.leave();
    await device.close();
    expect([device.closed, device.registrations]).toEqual([true, 0]);
  });

  it("while somebody holds the reservation, draining says so; giving up changes nothing", async () => {
    const { device, importer, buffer } = await stuck();
    const held = await importer.attachment.buffer.reservation.lock();
    const abort = new AbortController();
    const reset = device.reset({ signal: abort.signal });
    await settle();
    expect(device.draining).toEqual([{ buffer, waitsFor: "lock", mappings: 1, fences: 0 }]);
    abort.abort();
    expect((await errorOf(() => reset)).reason).toContain("buffers left revoked: none");
    expect(device.draining).toEqual([]);
    held.release();
    expect((await importer.map()).entries).toBe(1);
    await importer.leave();
  });

  it("vfio-pci-dmabuf R21: without a signal it waits for ever, the lock held", async () => {
    const { device, importer } = await stuck();
    let over = false;
    const reset = device.reset().then(() => (over = true));
    const later = device.exportDmaBuf(ONE_PAGE);
    await settle(1000);
    expect(over).toBe(false);
    await importer.leave();
    await reset;
    (await later).close();
  });
});

describe("close", () => {
  it("known-bugs B6: revokes and drains before the function is disabled", async () => {
    const { device, fn } = await rig();
    fn.set(4, 2, 6);
    using buffer = await device.exportDmaBuf(ONE_PAGE);
    const importer = new DynamicImporter(buffer, fakeDevice(NIC));
    let commandThen = 0;
    importer.duringInvalidate = () => (commandThen = fn.command);
    await importer.map();
    await device.close();
    expect(commandThen & 4).toBe(4);
    expect(fn.command & 4).toBe(0);
    await importer.leave();
  });

  it("vfio-pci-dmabuf R28: the buffer outlives the device: size stays, attach and map are ENODEV for ever", async () => {
    const { device, vfio, fn } = await rig();
    const buffer = await device.exportDmaBuf(ONE_PAGE);
    const importer = new DynamicImporter(buffer, fakeDevice(NIC));
    await device.close();
    expect(buffer.size).toBe(0x1000n);
    const error = await errorOf(() => importer.map());
    expect([error.code, error.reason]).toEqual(["ENODEV", "the exporting device was closed"]);
    const again = await vfio.open(fn);
    await again.writeConfig(4, 2, 2);
    await again.reset();
    // R29: opening again does not bring it back.
    expect(await refusal(() => importer.map())).toMatch(/^ENODEV/);
    expect(again.buffers).toBe(0);
    await importer.leave();
    buffer.close();
    await settle();
    expect(again.registrations).toBe(1);
  });

  it("vfio-pci-dmabuf R30: unregistering waits for close, not for the holders of buffers", async () => {
    const { device } = await rig();
    const buffer = await device.exportDmaBuf(ONE_PAGE);
    const other = await device.exportDmaBuf(ONE_PAGE);
    let gone = false;
    const unregistered = device.unregister().then(() => (gone = true));
    other.close();
    await settle();
    expect([gone, device.registrations]).toEqual([false, 2]);
    await device.close();
    await unregistered;
    expect([gone, buffer.released]).toEqual([true, false]);
    buffer.close();
  });

  it("what waited for the lock behind it finds the device gone, and acts on nothing", async () => {
    const { device, fn, vfio } = await rig();
    let finish = (): void => undefined;
    fn.duringReset = () => new Promise<void>((resolve) => (finish = resolve));
    const first = device.reset();
    await settle();
    const second = device.close();
    const late = [device.writeConfig(4, 2, 0), device.reset(), device.enterLowPower()];
    finish();
    await Promise.all([first, second]);
    // Closing had begun: these were refused at once.
    for (const one of late) expect((await errorOf(() => one)).code).toBe("EBADF");
    const again = await vfio.open(fn);
    fn.duringReset = undefined;
    const queued = [again.reset(), again.reset()];
    const closed = again.close();
    const behind = errorOf(() => again.reset());
    await Promise.all([...queued, closed]);
    expect((await behind).code).toBe("EBADF");
    expect(fn.log.filter((line) => line === "reset")).toHaveLength(3);
  });

  it("closing again after a cancelled close finishes it, twice at once too", async () => {
    const { device, fn } = await rig();
    const buffer = await device.exportDmaBuf(ONE_PAGE);
    const importer = new DynamicImporter(buffer, fakeDevice(NIC));
    importer.slow = true;
    await importer.map();
    const abort = new AbortController();
    const cancelled = device.close({ signal: abort.signal });
    await settle();
    abort.abort();
    await errorOf(() => cancelled);
    await importer.leave();
    await Promise.all([device.close(), device.close()]);
    expect(fn.log).not.toContain("reset");
    expect(device.closed).toBe(true);
  });

  it("is harmless twice, also at the same time", async () => {
    const { device } = await rig();
    await Promise.all([device.close(), device.close()]);
    await device.close();
    expect(device.registrations).toBe(0);
    expect((await errorOf(() => device.exportDmaBuf(ONE_PAGE))).code).toBe("EBADF");
  });
});
