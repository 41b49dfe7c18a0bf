import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { giveBack, recover, take } from "../src/sysfs/binding.js";
import { Journal } from "../src/sysfs/journal.js";
import { FakeKernel } from "./fixtures/fake-kernel.js";

afterEach(() => {
  FakeKernel.removeAll();
});

const GPU = "0000:3b:00.0";
const NIC = "0000:5e:00.0";

function machine(...more: ConstructorParameters<typeof FakeKernel>[0]): {
  kernel: FakeKernel;
  journal: Journal;
} {
  const kernel = new FakeKernel([{ address: GPU, driver: "nvme" }, ...more]);
  return { kernel, journal: new Journal(kernel, kernel.state) };
}

/** The same machine seen by another process, begun after this one was killed. */
function nextRun(kernel: FakeKernel): Journal {
  kernel.ends(process.pid);
  return new Journal(kernel, kernel.state);
}

describe("taking a device and giving it back", () => {
  it("goes the way of driver_override, unbind, probe, and back to the old driver", () => {
    const { kernel, journal } = machine();
    expect(take(kernel, journal, GPU)).toBe(true);
    expect(kernel.driverOf(GPU)).toBe("vfio-pci");
    expect(kernel.writes).toEqual([
      "driver_override vfio-pci",
      `unbind ${GPU}`,
      `drivers_probe ${GPU}`,
    ]);
    expect(readdirSync(kernel.state)).toEqual([`${GPU}.json`]);
    giveBack(kernel, journal, GPU);
    expect(kernel.driverOf(GPU)).toBe("nvme");
    expect(kernel.overrideOf(GPU)).toBe("(null)");
    expect(readdirSync(kernel.state)).toEqual([]);
  });

  it("keeps an override that was set before", () => {
    const { kernel, journal } = machine({
      address: NIC,
      driver: "mlx5_core",
      override: "mlx5_core",
    });
    take(kernel, journal, NIC);
    giveBack(kernel, journal, NIC);
    expect(kernel.overrideOf(NIC)).toBe("mlx5_core");
    expect(kernel.driverOf(NIC)).toBe("mlx5_core");
  });

  it("gives a driver back whose device had an override for another one", () => {
    const { kernel, journal } = machine({ address: NIC, driver: "mlx5_core", override: "other" });
    take(kernel, journal, NIC);
    giveBack(kernel, journal, NIC);
    expect(kernel.driverOf(NIC)).toBe("mlx5_core");
    expect(kernel.overrideOf(NIC)).toBe("other");
  });

  it("leaves a device without a driver without one", () => {
    const { kernel, journal } = machine({ address: NIC });
    take(kernel, journal, NIC);
    expect(kernel.driverOf(NIC)).toBe("vfio-pci");
    giveBack(kernel, journal, NIC);
    expect(kernel.driverOf(NIC)).toBeUndefined();
  });

  it("takes a device of vfio-pci as it is, and never restores it", () => {
    const { kernel, journal } = machine({ address: NIC, driver: "vfio-pci" });
    expect(take(kernel, journal, NIC)).toBe(false);
    giveBack(kernel, journal, NIC);
    expect(kernel.writes).toEqual([]);
    expect(kernel.driverOf(NIC)).toBe("vfio-pci");
  });

  it("binds a variant driver where one is named", () => {
    const { kernel, journal } = machine();
    kernel.addDriver("mlx5_vfio_pci");
    take(kernel, journal, GPU, { driver: "mlx5_vfio_pci" });
    expect(kernel.driverOf(GPU)).toBe("mlx5_vfio_pci");
    giveBack(kernel, journal, GPU);
    expect(kernel.driverOf(GPU)).toBe("nvme");
  });
});

describe("what is refused changes nothing", () => {
  const refused = (kernel: FakeKernel, code: string, run: () => unknown): void => {
    const before = kernel.driverOf(GPU);
    expect(run).toThrow(expect.objectContaining({ code }));
    expect(kernel.driverOf(GPU)).toBe(before);
    expect(kernel.overrideOf(GPU)).toBe("(null)");
    expect(new Journal(kernel, kernel.state).records()).toEqual([]);
  };

  it.each(["", "gpu0", "00:1f", "0000:3b:00.9", "../../etc", "0000:3b:00.0\n"])(
    "the address %j",
    (address) => {
      const { kernel, journal } = machine();
      expect(() => take(kernel, journal, address)).toThrow(
        expect.objectContaining({ code: "EINVAL" }),
      );
      expect(kernel.writes).toEqual([]);
    },
  );

  it("a function that is not there", () => {
    const { kernel, journal } = machine();
    refused(kernel, "ENODEV", () => take(kernel, journal, "0000:7f:00.0"));
  });

  it("a bridge", () => {
    const { kernel, journal } = machine({
      address: NIC,
      driver: "pcieport",
      classCode: "0x060400",
    });
    refused(kernel, "EINVAL", () => take(kernel, journal, NIC));
  });

  it.each(["no-such-driver", "../nvme"])("the driver %s", (driver) => {
    const { kernel, journal } = machine();
    refused(kernel, "ENODEV", () => take(kernel, journal, GPU, { driver }));
  });

  it("a group that somebody else's driver is in, but not one of ports and stubs", () => {
    const kernel = new FakeKernel([
      { address: GPU, driver: "nvme", group: "14" },
      { address: NIC, driver: "mlx5_core", group: "14" },
    ]);
    const journal = new Journal(kernel, kernel.state);
    expect(() => take(kernel, journal, GPU)).toThrow(/0000:5e:00\.0 \(mlx5_core\)/);
    refused(kernel, "EBUSY", () => take(kernel, journal, GPU));
    const viable = new FakeKernel([
      { address: GPU, driver: "nvme", group: "14" },
      { address: NIC, driver: "pcieport", group: "14" },
    ]);
    expect(take(viable, new Journal(viable, viable.state), GPU)).toBe(true);
  });

  it("a device with a mounted file system, also one below LVM; force takes it", () => {
    const { kernel, journal } = machine();
    kernel.put("/proc/self/mountinfo", "29 1 254:0 / / rw - ext4 /dev/mapper/root rw\n");
    kernel.putLink("/sys/dev/block/254:0/slaves/nvme0n1p2", `../../nvme`);
    kernel.putLink("/sys/dev/block/nvme", "unused");
    refused(kernel, "EBUSY", () => {
      kernel.putLink(
        "/sys/dev/block/254:0/slaves/sda",
        `../../../../devices/pci0000:3a/0000:3a:00.0/${GPU}/nvme/nvme0/nvme0n1`,
      );
      take(kernel, journal, GPU);
    });
    expect(take(kernel, journal, GPU, { force: true })).toBe(true);
  });

  it("a device whose network interface is up, not one that is down", () => {
    const { kernel, journal } = machine();
    kernel.put(`/sys/bus/pci/devices/${GPU}/net/eth0/x`, "");
    kernel.put("/sys/class/net/eth0/operstate", "up\n");
    refused(kernel, "EBUSY", () => take(kernel, journal, GPU));
    kernel.put("/sys/class/net/eth0/operstate", "down\n");
    expect(take(kernel, journal, GPU)).toBe(true);
  });

  it("a driver that does not take it: the old one is back", () => {
    const { kernel, journal } = machine();
    kernel.refusals.push({ path: "/drivers_probe", code: "EIO" });
    refused(kernel, "EIO", () => take(kernel, journal, GPU));
  });

  it("a journal that cannot be written: nothing is touched", () => {
    const { kernel } = machine();
    kernel.put("/run/peerbar", "a file where the directory belongs");
    const journal = new Journal(kernel, join(kernel.state, "below"));
    expect(() => take(kernel, journal, GPU)).toThrow();
    expect(kernel.writes).toEqual([]);
    expect(kernel.driverOf(GPU)).toBe("nvme");
  });
});

describe("after a crash", () => {
  it("puts the device back from wherever the kill came, write by write", () => {
    for (let moment = 0; moment <= 3; moment++) {
      const { kernel, journal } = machine();
      kernel.killBefore = moment < 3 ? moment : undefined;
      const files = kernel;
      // Everything fails from the kill on, the undo included: that is what SIGKILL does.
      if (moment < 3) expect(() => take(files, journal, GPU)).toThrow("killed");
      else take(files, journal, GPU);
      kernel.killBefore = undefined;
      const found = recover(kernel, nextRun(kernel));
      expect(found.map(({ outcome }) => outcome)).toEqual(["restored"]);
      expect(kernel.driverOf(GPU)).toBe("nvme");
      expect(kernel.overrideOf(GPU)).toBe("(null)");
      expect(readdirSync(kernel.state)).toEqual([]);
      expect(recover(kernel, new Journal(kernel, kernel.state))).toEqual([]);
      kernel[Symbol.dispose]();
    }
  });

  it("leaves what a running process has, and knows a reused process number", () => {
    const { kernel, journal } = machine();
    take(kernel, journal, GPU);
    expect(recover(kernel, journal)).toMatchObject([{ what: GPU, outcome: "in-use" }]);
    expect(kernel.driverOf(GPU)).toBe("vfio-pci");
    kernel.runs(process.pid, "777777");
    expect(recover(kernel, journal)).toMatchObject([{ what: GPU, outcome: "restored" }]);
  });

  it("forgets entries of an earlier boot and of devices that are gone, without a write", () => {
    const { kernel, journal } = machine();
    take(kernel, journal, GPU);
    const writes = kernel.writes.length;
    kernel.put("/proc/sys/kernel/random/boot_id", "another\n");
    expect(recover(kernel, journal)).toMatchObject([{ what: GPU, outcome: "stale" }]);
    expect(kernel.writes).toHaveLength(writes);

    const second = machine();
    take(second.kernel, second.journal, GPU);
    second.kernel.unplug(GPU);
    expect(recover(second.kernel, nextRun(second.kernel))).toMatchObject([
      { what: GPU, outcome: "stale" },
    ]);
  });

  it("keeps the entry where putting back fails, and goes on with the others", () => {
    const { kernel, journal } = machine({ address: NIC, driver: "mlx5_core" });
    take(kernel, journal, GPU);
    take(kernel, journal, NIC);
    kernel.refusals.push({ path: "/nvme/bind", code: "EBUSY" });
    const next = nextRun(kernel);
    expect(recover(kernel, next).map(({ what, outcome }) => [what, outcome])).toEqual([
      [GPU, "failed"],
      [NIC, "restored"],
    ]);
    kernel.refusals.length = 0;
    expect(recover(kernel, next)).toMatchObject([{ what: GPU, outcome: "restored" }]);
    expect(kernel.driverOf(GPU)).toBe("nvme");
  });

  it("what could not be put back is put back before the device is taken again", () => {
    const { kernel, journal } = machine();
    take(kernel, journal, GPU);
    kernel.refusals.push({ path: "/nvme/bind", code: "EBUSY" });
    const next = nextRun(kernel);
    expect(recover(kernel, next)).toMatchObject([{ outcome: "failed" }]);
    kernel.runs(process.pid, "5555");
    kernel.refusals.length = 0;
    expect(take(kernel, next, GPU)).toBe(true);
    expect(next.entry(GPU)).toMatchObject({ driver: "nvme", override: null });
    giveBack(kernel, next, GPU);
    expect([kernel.driverOf(GPU), kernel.overrideOf(GPU)]).toEqual(["nvme", "(null)"]);
  });

  it("while it still cannot be put back it is not taken, and the entry stays (EBUSY)", () => {
    const { kernel, journal } = machine();
    take(kernel, journal, GPU);
    kernel.refusals.push({ path: "/nvme/bind", code: "EIO" });
    const next = nextRun(kernel);
    recover(kernel, next);
    expect(() => take(kernel, next, GPU)).toThrow(
      expect.objectContaining({
        code: "EBUSY",
        hint: `bind it to nvme by hand, then remove ${join(kernel.state, `${GPU}.json`)}`,
      }),
    );
    expect(next.entry(GPU)).toMatchObject({ driver: "nvme", override: null });
  });

  it("nor is what this process itself could not give back forgotten", () => {
    const { kernel, journal } = machine();
    take(kernel, journal, GPU);
    kernel.refusals.push({ path: "/nvme/bind", code: "EIO" });
    expect(() => {
      giveBack(kernel, journal, GPU);
    }).toThrow(expect.objectContaining({ code: "EIO" }));
    kernel.refusals.length = 0;
    expect(take(kernel, journal, GPU)).toBe(true);
    giveBack(kernel, journal, GPU);
    expect(kernel.driverOf(GPU)).toBe("nvme");
  });

  it("what this process has open is not bound to another driver under it (EBUSY)", () => {
    const { kernel, journal } = machine();
    take(kernel, journal, GPU);
    expect(take(kernel, journal, GPU)).toBe(false);
    kernel.addDriver("mlx5_vfio_pci");
    expect(() => take(kernel, journal, GPU, { driver: "mlx5_vfio_pci" })).toThrow(
      expect.objectContaining({ code: "EBUSY" }),
    );
    expect(kernel.driverOf(GPU)).toBe("vfio-pci");
  });

  it("an entry of an earlier boot is no witness: the device is taken as it is now", () => {
    const { kernel, journal } = machine();
    mkdirSync(kernel.state, { recursive: true });
    const text = entryWith({ bootId: "earlier", driver: "gone" });
    writeFileSync(join(kernel.state, `${GPU}.json`), text);
    expect(take(kernel, journal, GPU)).toBe(true);
    expect(journal.entry(GPU)).toMatchObject({ driver: "nvme" });
  });

  it.each([
    ["half a file", '{"schemaVersion":1,"addr'],
    ["another schema", '{"schemaVersion":2}'],
    ["null", "null"],
    ["a driver that is a path", entryWith({ driver: "../../../../etc" })],
    ["an address that is not the file's", entryWith({ address: NIC })],
  ])("a journal with %s is reported and left, and never acted on", (_what, text) => {
    const { kernel, journal } = machine();
    mkdirSync(kernel.state, { recursive: true });
    writeFileSync(join(kernel.state, `${GPU}.json`), text);
    expect(recover(kernel, journal)).toMatchObject([{ outcome: "failed" }]);
    expect(kernel.writes).toEqual([]);
    expect(readdirSync(kernel.state)).toEqual([`${GPU}.json`]);
  });

  it("a second process is told who has the device (EBUSY)", () => {
    const { kernel, journal } = machine();
    const other = process.pid + 1;
    kernel.runs(other, "99");
    mkdirSync(kernel.state, { recursive: true });
    writeFileSync(join(kernel.state, `${GPU}.json`), entryWith({ pid: other, startTime: "99" }));
    expect(() => take(kernel, journal, GPU)).toThrow(
      `EBUSY: vfio.bind: process ${String(other)} has`,
    );
  });
});

function entryWith(change: Record<string, unknown>): string {
  return JSON.stringify({
    schemaVersion: 1,
    address: GPU,
    driver: "nvme",
    override: null,
    bootId: "11111111-2222-3333-4444-555555555555",
    pid: 1,
    startTime: "1",
    ...change,
  });
}
