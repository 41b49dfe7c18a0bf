import { type LockWatch, MicrotaskScheduler, type SchedulerWatch } from "@peerbar/core";
import { describe, expect, it } from "vitest";
import { Registration } from "../src/registration.js";
import { errorOf, settle } from "./fixtures/errors.js";

describe("registration with VFIO (vfio-pci-dmabuf R30)", () => {
  it("ends at once where nobody holds it, else with the last reference", async () => {
    const registration = new Registration("0000:3b:00.0", new MicrotaskScheduler());
    registration.get("vfio.open");
    registration.get("vfio.exportDmaBuf");
    let gone = false;
    const leaving = registration.leave().then(() => {
      gone = true;
    });
    registration.put();
    await settle();
    expect([gone, registration.leaving, registration.references]).toEqual([false, true, 1]);
    expect(
      (
        await errorOf(() => {
          registration.get("vfio.open");
        })
      ).rule,
    ).toBe("vfio-pci-dmabuf V21");
    registration.put();
    await leaving;
    expect([gone, registration.references]).toEqual([true, 0]);
    await registration.leave();
  });

  it("a wait given up leaves the refusal standing, and can be repeated", async () => {
    const registration = new Registration("0000:3b:00.0", new MicrotaskScheduler());
    registration.get("vfio.open");
    expect(registration.leaving).toBe(false);
    const abort = new AbortController();
    const error = errorOf(() => registration.leave({ signal: abort.signal }));
    await settle();
    abort.abort();
    expect([(await error).code, (await error).syscall]).toEqual(["EINTR", "vfio.unregister"]);
    const again = registration.leave();
    registration.put();
    await again;
    expect(registration.leaving).toBe(true);
  });

  it("tells an explorer of each look and each change", async () => {
    const told: string[] = [];
    const lock = (): LockWatch => {
      throw new Error("no lock was asked for");
    };
    const watch: SchedulerWatch = {
      lock,
      object: (name) => ({
        touch: (writes) => void told.push(`${name} ${writes ? "written" : "read"}`),
      }),
      touch: () => undefined,
    };
    class Watched extends MicrotaskScheduler {
      readonly watch = watch;
    }
    const registration = new Registration("nic", new Watched());
    registration.get("vfio.open");
    const looks = [registration.references, registration.leaving];
    registration.put();
    await registration.leave();
    expect(looks).toEqual([1, false]);
    const [read, written] = ["nic registration read", "nic registration written"];
    expect(told).toEqual([written, read, read, written, written]);
  });
});
