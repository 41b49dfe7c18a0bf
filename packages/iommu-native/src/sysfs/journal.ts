import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { isDmaBufError } from "@peerbar/core";
import { fileError, type KernelFiles } from "./kernel-files.js";

/** What a device was before it was taken: enough to put it back after the taker was killed. */
export interface JournalEntry {
  readonly schemaVersion: 1;
  /** `0000:3b:00.0`. */
  readonly address: string;
  /** Driver it was bound to; null where none was. */
  readonly driver: string | null;
  /** Its `driver_override`; null where nothing was set. */
  readonly override: string | null;
  /** Another boot has undone everything already. */
  readonly bootId: string;
  /** The process that took it, and when that began (clock ticks after boot), so that a reused number is told apart. */
  readonly pid: number;
  readonly startTime: string;
}

/** What a scan of the journal found in one file. */
export type JournalRecord =
  | { readonly file: string; readonly entry: JournalEntry }
  | { readonly file: string; readonly entry: undefined; readonly reason: string };

/** Where it lies unless told otherwise: gone after a reboot, as the bindings are. */
const STATE_DIRECTORY = "/run/peerbar";

/**
 * One file for each device that is taken, written before the first change and removed after the last. A file appears whole or not at
 * all, so that a kill at any moment leaves something to recover from.
 */
export class Journal {
  readonly directory: string;
  readonly #files: KernelFiles;

  constructor(files: KernelFiles, directory: string = STATE_DIRECTORY) {
    this.#files = files;
    this.directory = directory;
  }

  /** Identity of this boot. */
  get bootId(): string {
    return this.#files.read("/proc/sys/kernel/random/boot_id")?.trim() ?? "unknown";
  }

  /** Records a device, in the name of this process. @throws DmaBufError EACCES, ENOSPC, ...: nothing may be changed then. */
  record(state: Pick<JournalEntry, "address" | "driver" | "override">): void {
    const entry: JournalEntry = {
      schemaVersion: 1,
      ...state,
      bootId: this.bootId,
      pid: process.pid,
      startTime: this.startTimeOf(process.pid) ?? "unknown",
    };
    const path = this.pathOf(state.address);
    try {
      mkdirSync(this.directory, { recursive: true, mode: 0o700 });
      const temporary = `${path}.${String(process.pid)}.new`;
      const fd = openSync(temporary, "w", 0o600);
      try {
        writeSync(fd, `${JSON.stringify(entry)}\n`);
        fsyncSync(fd);
      } finally {
        closeSync(fd);
      }
      renameSync(temporary, path);
    } catch (cause) {
      throw fileError("journal", path, cause);
    }
  }

  /** The device is as it was. */
  forget(address: string): void {
    rmSync(this.pathOf(address), { force: true });
  }

  /** The entry of one device; undefined where there is none that can be read. */
  entry(address: string): JournalEntry | undefined {
    return this.#load(`${address}.json`).entry;
  }

  /** Every file of the journal, also those that make no sense. */
  records(): readonly JournalRecord[] {
    let names: string[];
    try {
      names = readdirSync(this.directory);
    } catch {
      return [];
    }
    return names
      .filter((name) => name.endsWith(".json"))
      .sort()
      .map((name) => this.#load(name));
  }

  /** True while the process that made the entry runs. */
  isOwned(entry: JournalEntry): boolean {
    return entry.bootId === this.bootId && this.startTimeOf(entry.pid) === entry.startTime;
  }

  /** Field 22 of /proc/PID/stat; undefined where there is no such process. */
  startTimeOf(pid: number): string | undefined {
    const stat = this.#files.read(`/proc/${String(pid)}/stat`);
    // The command in parentheses may hold anything, so count from the last parenthesis.
    return stat?.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
  }

  #load(name: string): JournalRecord {
    const file = join(this.directory, name);
    try {
      const entry = checked(JSON.parse(readFileSync(file, "utf8")), name);
      return { file, entry };
    } catch (error) {
      const reason = isDmaBufError(error) ? error.reason : (error as Error).message;
      return { file, entry: undefined, reason };
    }
  }

  /** The file of one device, there or not. */
  pathOf(address: string): string {
    return join(this.directory, `${address}.json`);
  }
}

/** The journal decides what is written to /sys as root: nothing of it is taken unseen. */
function checked(value: unknown, name: string): JournalEntry {
  const entry = value as Partial<Record<keyof JournalEntry, unknown>> | null;
  const nameOrNull = (text: unknown): boolean =>
    text === null || (typeof text === "string" && /^[\w.-]+$/.test(text));
  const valid =
    entry?.schemaVersion === 1 &&
    typeof entry.address === "string" &&
    /^[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$/.test(entry.address) &&
    name === `${entry.address}.json` &&
    nameOrNull(entry.driver) &&
    nameOrNull(entry.override) &&
    typeof entry.bootId === "string" &&
    Number.isSafeInteger(entry.pid) &&
    typeof entry.startTime === "string";
  if (!valid) throw new Error("not an entry of this journal");
  return entry as JournalEntry;
}
