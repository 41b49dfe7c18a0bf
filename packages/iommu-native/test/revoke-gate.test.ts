import {
  type AbortSignalLike,
  DmaBuf,
  type DmaDevice,
  type ExporterOps,
  FenceContext,
  type ImporterOps,
  isDmaBufError,
  MicrotaskScheduler,
} from "@peerbar/core";
import { describe, expect, it } from "vitest";
import { RevokeGate } from "../src/vfio/revoke-gate.js";

const importerDevice: DmaDevice = { name: "nic", pciAddress: undefined, dmaMask: 0n };
const refuse = (): never => {
  throw new Error("nothing is mapped here");
};
const ops: ExporterOps = {
  name: "vfio_pci_core",
  offers: () => ["fd"],
  map: refuse,
  unmap: refuse,
  release: () => undefined,
};

/** A device with one buffer, an importer that says what it hears, and a fence of it. */
function scene() {
  const scheduler = new MicrotaskScheduler();
  const log: string[] = [];
  const machine = { memory: true };
  const gate = new RevokeGate("gpu", () => machine.memory, scheduler);
  const buffer = DmaBuf.export({ ops, size: 0x1000n, scheduler });
  gate.add(buffer);
  const importer: ImporterOps = {
    allowPeer2Peer: true,
    invalidateMappings: () => void log.push(gate.revoked ? "invalidate" : "told while live"),
  };
  buffer.attach(importerDevice, importer);
  return { scheduler, log, machine, gate, buffer, timeline: new FenceContext(1, "dma", scheduler) };
}

async function inFlight({ buffer, timeline }: ReturnType<typeof scene>) {
  const held = await buffer.reservation.lock();
  buffer.reservation.reserveFences(held, 1);
  const fence = timeline.next();
  buffer.reservation.addFence(held, fence, "bookkeep");
  held.release();
  return fence;
}

const settle = async (): Promise<void> => {
  for (let turn = 0; turn < 50; turn++) await Promise.resolve();
};

const gaveUp = async (run: (signal: AbortSignalLike) => Promise<unknown>): Promise<string> => {
  const abort = new AbortController();
  const code = run(abort.signal).then(
    () => "no error",
    (error: unknown) => (isDmaBufError(error) ? error.code : String(error)),
  );
  await settle();
  abort.abort();
  return code;
};

describe("a revoke that its caller gave up", () => {
  it("is not made, and leaves the gate as it was where memory is on", async () => {
    const all = scene();
    const fence = await inFlight(all);
    const { gate, log } = all;
    const call = (): void => void log.push("reset");
    expect(await gaveUp((signal) => gate.revokeAround(call, { signal }))).toBe("EINTR");
    expect(log).toEqual(["invalidate", "invalidate"]);
    expect(gate.revoked).toBe(false);
    fence.signal();
  });

  it("vfio-pci-dmabuf R16: the next trigger tells importers again and waits for the same fence", async () => {
    const all = scene();
    const fence = await inFlight(all);
    const { gate, log, machine } = all;
    const off = (): void => {
      log.push("memory off");
      machine.memory = false;
    };
    // Switched off behind the gate's back, so that nothing restores it in between.
    machine.memory = false;
    expect(await gaveUp((signal) => gate.revokeAround(off, { signal }))).toBe("EINTR");
    expect(log).toEqual(["invalidate"]);
    const again = gate.revokeAround(off);
    await settle();
    expect(log).toEqual(["invalidate", "invalidate"]);
    fence.signal();
    await again;
    expect(log).toEqual(["invalidate", "invalidate", "memory off"]);
    // Now it is final: nobody is told twice.
    await gate.revokeAround(off);
    expect(log.at(-2)).toBe("memory off");
  });
});

describe("memory that is back", () => {
  it("is told although the caller's time is over: the call has been made", async () => {
    const { gate, log, scheduler, buffer } = scene();
    const deadlineUs = scheduler.nowUs + 10;
    const reset = async (): Promise<void> => {
      log.push("reset");
      scheduler.advance(20);
      // Somebody has the buffer's lock just now: telling its importers means waiting.
      const held = await buffer.reservation.lock();
      void settle().then(() => {
        held.release();
      });
    };
    await gate.revokeAround(reset, { deadlineUs });
    expect(log).toEqual(["invalidate", "reset", "invalidate"]);
    expect(gate.revoked).toBe(false);
  });

  it("lifts the flag whatever an importer throws, and says so", async () => {
    const { gate, buffer, log } = scene();
    let broken = false;
    buffer.attach(importerDevice, {
      allowPeer2Peer: true,
      invalidateMappings: () => {
        if (broken) throw new Error("broken importer");
      },
    });
    const reset = (): void => {
      broken = true;
    };
    await expect(gate.revokeAround(reset)).rejects.toThrow("broken importer");
    expect(gate.revoked).toBe(false);
    broken = false;
    await gate.revokeAround(() => void log.push("reset"));
    expect(log.at(-2)).toBe("reset");
  });

  it("a call that fails is what its caller hears of", async () => {
    const { gate } = scene();
    const call = () => Promise.reject(new Error("no reset"));
    await expect(gate.revokeAround(call)).rejects.toThrow("no reset");
    expect(gate.revoked).toBe(false);
  });
});
