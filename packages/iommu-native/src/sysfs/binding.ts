import { DmaBufError, isDmaBufError } from "@peerbar/core";
import { usersOf } from "./in-use.js";
import type { Journal, JournalEntry } from "./journal.js";
import type { KernelFiles } from "./kernel-files.js";
import { DRIVERS, PciSysfs } from "./pci-sysfs.js";

/** How a device is taken. */
export interface TakeOptions {
  /** The vfio driver to bind: `vfio-pci`, or a variant such as `mlx5_vfio_pci`. */
  readonly driver?: string | undefined;
  /** Take it even though something of this machine is in use on it. */
  readonly force?: boolean | undefined;
}

/** Drivers that leave DMA to their users, so that a group with them stays viable (`driver_managed_dma`). */
const HARMLESS = new Set(["vfio-pci", "pci-stub", "pcieport", "shpchp"]);

/**
 * Binds a device to a vfio driver by `driver_override`, as `driverctl` and libvirt do. What it was goes into the journal first. A device
 * that is bound already is taken as it is, and nothing will be restored.
 *
 * @returns true where the binding was changed: the caller owes a {@link giveBack}.
 * @throws DmaBufError EINVAL for a bridge; ENODEV without the driver; EBUSY where the device or its IOMMU group is in use, another
 *   process has taken it, or what an earlier run left cannot be put back first; sysfs's errno otherwise. The device is as it was then.
 */
export function take(
  files: KernelFiles,
  journal: Journal,
  address: string,
  options: TakeOptions = {},
): boolean {
  const driver = options.driver ?? "vfio-pci";
  const fn = new PciSysfs(files, address);
  assertTakable(files, fn, driver);
  settleEarlier(files, fn, driver, journal);
  if (fn.driver === driver) return false;
  assertUnused(files, fn, options);
  journal.record({ address: fn.address, driver: fn.driver ?? null, override: fn.override ?? null });
  try {
    fn.setAttribute("driver_override", driver);
    if (fn.driver !== undefined) files.write(`${DRIVERS}/${fn.driver}/unbind`, fn.address);
    files.write("/sys/bus/pci/drivers_probe", fn.address);
    assertBound(fn, driver);
  } catch (error) {
    undo(files, journal, fn.address, error);
  }
  return true;
}

/**
 * Puts a device back as the journal has it: override, then driver. Does nothing where the journal has no entry.
 *
 * @throws DmaBufError sysfs's errno; the entry stays, so that a later run can try again.
 */
export function giveBack(files: KernelFiles, journal: Journal, address: string): void {
  const entry = journal.entry(address);
  if (entry === undefined) return;
  restore(files, entry);
  journal.forget(address);
}

/** What `recover` did with one file of the journal. */
export interface Recovery {
  /** PCI address, or the file where it cannot be read. */
  readonly what: string;
  readonly outcome:
    | "restored"
    /** The process that took it still runs. */
    | "in-use"
    /** Written before the last reboot, or the device is gone: nothing to undo. */
    | "stale"
    /** Could not be read or put back; the file stays. */
    | "failed";
  readonly reason: string | undefined;
}

/** Puts back every device whose taker was killed. Never throws: each entry ends on its own. */
export function recover(files: KernelFiles, journal: Journal): readonly Recovery[] {
  return journal.records().map((record): Recovery => {
    const { entry } = record;
    if (entry === undefined) {
      return { what: record.file, outcome: "failed", reason: record.reason };
    }
    const what = entry.address;
    if (entry.bootId !== journal.bootId) {
      journal.forget(what);
      return { what, outcome: "stale", reason: "the machine was rebooted since" };
    }
    if (journal.isOwned(entry)) {
      return { what, outcome: "in-use", reason: `process ${String(entry.pid)} has it` };
    }
    return putBack(files, journal, entry);
  });
}

function putBack(files: KernelFiles, journal: Journal, entry: JournalEntry): Recovery {
  const what = entry.address;
  try {
    giveBack(files, journal, what);
    return { what, outcome: "restored", reason: `driver ${entry.driver ?? "none"}` };
  } catch (error) {
    if (!isDmaBufError(error)) throw error;
    if (error.code === "ENODEV") {
      journal.forget(what);
      return { what, outcome: "stale", reason: error.reason };
    }
    return { what, outcome: "failed", reason: error.message };
  }
}

function restore(files: KernelFiles, entry: JournalEntry): void {
  const fn = new PciSysfs(files, entry.address);
  const { driver } = fn;
  if (driver !== (entry.driver ?? undefined)) {
    if (driver !== undefined) files.write(`${DRIVERS}/${driver}/unbind`, fn.address);
    if (entry.driver !== null) bind(files, fn, entry.driver);
  }
  // A newline alone clears it; an empty write never reaches the kernel.
  fn.setAttribute("driver_override", entry.override ?? "\n");
}

/** An override for another driver would be in the way, even one that was set after this one was bound. */
function bind(files: KernelFiles, fn: PciSysfs, driver: string): void {
  fn.setAttribute("driver_override", driver);
  files.write(`${DRIVERS}/${driver}/bind`, fn.address);
  assertBound(fn, driver);
}

/** Undoes a binding that failed halfway and throws its error, with what could not be undone. */
function undo(files: KernelFiles, journal: Journal, address: string, error: unknown): never {
  try {
    giveBack(files, journal, address);
  } catch (second) {
    if (!isDmaBufError(error) || !isDmaBufError(second)) throw error;
    throw new DmaBufError(
      error.code,
      error.syscall,
      `${error.reason}; and putting ${address} back failed: ${second.message}`,
      { hint: error.hint, cause: error },
    );
  }
  throw error;
}

function assertTakable(files: KernelFiles, fn: PciSysfs, driver: string): void {
  if (fn.isBridge) {
    throw new DmaBufError("EINVAL", "vfio.bind", `${fn.address} is a bridge`, {
      hint: "vfio-pci drives endpoints: name the function behind it",
    });
  }
  if (!/^[\w-]+$/.test(driver) || files.list(`${DRIVERS}/${driver}`) === undefined) {
    throw new DmaBufError("ENODEV", "vfio.bind", `this kernel has no driver ${driver} loaded`, {
      hint: `modprobe ${driver} (CONFIG_VFIO_PCI)`,
    });
  }
}

/**
 * An entry of this boot that is still there is the only witness of what the device was: it is acted on before another takes its place.
 *
 * @throws DmaBufError EBUSY where its process runs, or the device cannot be put back.
 */
function settleEarlier(files: KernelFiles, fn: PciSysfs, driver: string, journal: Journal): void {
  const entry = journal.entry(fn.address);
  if (entry === undefined || entry.bootId !== journal.bootId) return;
  if (journal.isOwned(entry)) {
    // What this process failed to give back is with its own driver or none; all else it has open.
    const left = fn.driver === undefined || fn.driver === entry.driver;
    const own = entry.pid === process.pid;
    if (own && fn.driver === driver && !left) return;
    if (!own || !left) {
      throw new DmaBufError(
        "EBUSY",
        "vfio.bind",
        `process ${String(entry.pid)} has ${fn.address}`,
        {
          hint: own
            ? "close the device first: that puts it back"
            : "end that process first: it puts the device back",
        },
      );
    }
  }
  try {
    giveBack(files, journal, fn.address);
  } catch (cause) {
    if (!isDmaBufError(cause)) throw cause;
    const before = entry.driver ?? "no driver";
    throw new DmaBufError(
      "EBUSY",
      "vfio.bind",
      `an earlier run took ${fn.address} from ${before}, and it cannot be put back: ${cause.message}`,
      {
        hint: `bind it to ${before} by hand, then remove ${journal.pathOf(fn.address)}`,
        cause,
      },
    );
  }
}

function assertUnused(files: KernelFiles, fn: PciSysfs, options: TakeOptions): void {
  const users = options.force === true ? [] : usersOf(files, fn.address);
  if (users.length > 0) {
    throw new DmaBufError("EBUSY", "vfio.bind", `${fn.address} is in use: ${users.join("; ")}`, {
      hint: "unmount or take it down first; force takes it all the same",
    });
  }
  const strangers = fn.groupMembers.flatMap((member) => {
    const other = member === fn.address ? undefined : new PciSysfs(files, member).driver;
    return other === undefined || HARMLESS.has(other) ? [] : [`${member} (${other})`];
  });
  if (strangers.length > 0) {
    throw new DmaBufError(
      "EBUSY",
      "vfio.bind",
      `IOMMU group ${fn.iommuGroup ?? "?"} of ${fn.address} also holds ${strangers.join(", ")}`,
      { hint: "a group is handed over as a whole: unbind those too, or give the ports above ACS" },
    );
  }
}

function assertBound(fn: PciSysfs, driver: string): void {
  if (fn.driver === driver) return;
  throw new DmaBufError(
    "ENODEV",
    "vfio.bind",
    `${driver} did not take ${fn.address}; bound now: ${fn.driver ?? "none"}`,
    { hint: "the kernel log says why: dmesg | tail" },
  );
}
