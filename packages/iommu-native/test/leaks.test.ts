import { type AddressSpace, dispose } from "@peerbar/core";
import { close, memfdCreate, openFds } from "@peerbar/linux";
import { describe, expect, it } from "vitest";
import { EduDevice } from "../src/edu.js";
import { everyStep, everyStepAwaited } from "../src/every-step.js";
import { NativeDmaBuf, type NativeVfioDevice, VerbsDevice } from "../src/index.js";
import type { VerbsLibrary } from "../src/rdma/verbs-library.js";
import { BarWindows } from "../src/vfio/bar-windows.js";

describe("the staging page of edu", () => {
  /** Answers as `edu` does when asked who it is. */
  const edu = {
    device: { pciAddress: "0000:05:00.0" },
    setMaster: () => undefined,
    readBar: (_bar: number, _at: bigint, into: Uint8Array) => into.set([0xed, 0, 0, 1]),
  } as unknown as NativeVfioDevice;
  const space = (change: Partial<AddressSpace>): AddressSpace =>
    ({ map: () => ({}), unmap: () => 4096n, ...change }) as unknown as AddressSpace;
  const fail = (): never => {
    throw new Error("closed");
  };

  it("needs no descriptor once it is mapped, and leaves none where it cannot be", () => {
    const engine = new EduDevice(edu, space({}));
    expect(openFds()).toEqual([]);
    engine[dispose]();
    expect(() => new EduDevice(edu, space({ map: fail }))).toThrow("closed");
    expect(openFds()).toEqual([]);
  });
});

describe("windows of a BAR", () => {
  it("one that its user unmapped is not kept; the others end together", () => {
    const fd = memfdCreate("bar", 0x2000);
    const windows = new BarWindows();
    const own = windows.open(fd, { length: 0x1000 });
    const other = windows.open(fd, { length: 0x1000, offset: 0x1000 });
    new Uint8Array(other.buffer).fill(7);
    own.unmap();
    own.unmap();
    expect(windows.size).toBe(1);
    windows.unmapAll();
    expect(windows.size).toBe(0);
    expect(new Uint8Array(other.buffer).some((byte) => byte !== 0)).toBe(false);
    other[dispose]();
    close(fd);
  });
});

const DEVICE = 0x100n;
const REGION = 0x200n;
const EBUSY = 16;

/** libibverbs with one device; `over` is what else a test wants of it. */
function fakeVerbs(over: Partial<VerbsLibrary>): VerbsLibrary {
  return {
    getDeviceList: () => 0x10n,
    freeDeviceList: () => undefined,
    getDeviceName: () => "mlx5_0",
    openDevice: () => 0x300n,
    closeDevice: () => 0,
    allocPd: () => 0x400n,
    deallocPd: () => 0,
    regDmaBufMr: () => REGION,
    deregMr: () => 0,
    // A list of one device, and its end; a region's keys are zeros.
    peek: (address, length) =>
      address === REGION
        ? new DataView(new ArrayBuffer(length))
        : new DataView(BigUint64Array.of(address === 0x10n ? DEVICE : 0n).buffer),
    ...over,
  };
}

describe("a memory region whose keys cannot be read", () => {
  it("is deregistered, and the buffer let go", async () => {
    const ended: bigint[] = [];
    const readable = fakeVerbs({});
    const library = fakeVerbs({
      deregMr: (mr) => {
        ended.push(mr);
        return 0;
      },
      peek: (address, length) => {
        if (address === REGION) throw new Error("unreadable");
        return readable.peek(address, length);
      },
    });
    const device = VerbsDevice.open("mlx5_0", library);
    const buffer = new NativeDmaBuf({ name: "memory", fd: memfdCreate("buffer", 0x1000) });
    const slice = { offset: 0n, length: 0x1000n };
    expect(() => device.allocPd().regDmaBufMr(buffer, { slice, access: 1 })).toThrow("unreadable");
    expect(ended).toEqual([REGION]);
    expect(buffer.references).toBe(1);
    device.close();
    buffer.close();
    await new Promise((resolve) => setImmediate(resolve));
  });
});

describe("an RDMA device whose driver refuses an ending", () => {
  it("tells it, and ends all else: regions, domains, the device", async () => {
    const calls: string[] = [];
    const answered = (call: string, result: number) => {
      calls.push(call);
      return result;
    };
    const library = fakeVerbs({
      deregMr: () => answered("dereg", EBUSY),
      deallocPd: () => answered("dealloc", EBUSY),
      closeDevice: () => answered("close", 0),
    });
    const device = VerbsDevice.open("mlx5_0", library);
    const buffer = new NativeDmaBuf({ name: "memory", fd: memfdCreate("buffer", 0x1000) });
    const slice = { offset: 0n, length: 0x1000n };
    for (let i = 0; i < 2; i++) device.allocPd().regDmaBufMr(buffer, { slice, access: 1 });
    expect(() => {
      device.close();
    }).toThrow(/^EBUSY: ibv_dereg_mr/);
    expect(calls).toEqual(["dereg", "dealloc", "dereg", "dealloc", "close"]);
    expect(buffer.references).toBe(1);
    device.close();
    expect(calls).toHaveLength(5);
    buffer.close();
    await new Promise((resolve) => setImmediate(resolve));
  });
});

describe("the steps of an ending", () => {
  const fail = (message: string) => () => {
    throw new Error(message);
  };

  it("are all taken, in order, and the first error is told", async () => {
    const taken: number[] = [];
    const step = (n: number) => () => void taken.push(n);
    expect(() => {
      everyStep([step(1), fail("first"), step(2), fail("second"), step(3)]);
    }).toThrow("first");
    expect(taken).toEqual([1, 2, 3]);
    const waits = async () => {
      await Promise.resolve();
      taken.push(4);
      throw new Error("waited");
    };
    await expect(everyStepAwaited([waits, step(5), fail("later")])).rejects.toThrow("waited");
    expect(taken).toEqual([1, 2, 3, 4, 5]);
    await everyStepAwaited([]);
  });
});
