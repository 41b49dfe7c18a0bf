import {
  closeSync,
  constants,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { DmaBufError, type ErrnoName, errnos } from "@peerbar/core";

/** Files of /sys, /proc and /dev as this package reads and writes them. Paths are absolute on the running machine. */
export interface KernelFiles {
  /** Text without the newline at its end; undefined where there is no such file or it may not be read. */
  read(path: string): string | undefined;
  /** Names in a directory, sorted; undefined where there is none. */
  list(path: string): readonly string[] | undefined;
  /** Target of a symbolic link; undefined where there is none. */
  link(path: string): string | undefined;
  /** One write, as sysfs wants it. @throws DmaBufError with the errno of the store function. */
  write(path: string, text: string): void;
}

/** The machine's own files, or a copy of them below `root`. */
export class RootedFiles implements KernelFiles {
  readonly #root: string;

  constructor(root = "/") {
    this.#root = root;
  }

  read(path: string): string | undefined {
    return attempt(() => readFileSync(join(this.#root, path), "utf8").replace(/\n$/, ""));
  }

  list(path: string): readonly string[] | undefined {
    return attempt(() => readdirSync(join(this.#root, path)).sort());
  }

  link(path: string): string | undefined {
    return attempt(() => readlinkSync(join(this.#root, path)));
  }

  write(path: string, text: string): void {
    try {
      // No O_CREAT: a name that the kernel does not have must not become a file. No reading: sysfs refuses it for `unbind` and the like.
      const fd = openSync(join(this.#root, path), constants.O_WRONLY);
      try {
        writeSync(fd, text);
      } finally {
        closeSync(fd);
      }
    } catch (cause) {
      throw fileError("write", path, cause);
    }
  }
}

/** A failed call of `node:fs` as the error of this package: errno as the kernel gave it, and what to do about the usual ones. */
export function fileError(syscall: string, path: string, cause: unknown): DmaBufError {
  const found = (cause as { code?: unknown } | undefined)?.code;
  const known = typeof found === "string" && found in errnos;
  const code = known ? (found as ErrnoName) : "EIO";
  const reason = known || typeof found !== "string" ? path : `${path}: ${found}`;
  return new DmaBufError(code, syscall, reason, { hint: hints[code], cause });
}

const hints: Readonly<Partial<Record<ErrnoName, string>>> = {
  EACCES: "run as root, or give this user the right to write there",
  EPERM: "run as root; in a container /sys may be read-only",
  EROFS: "/sys is mounted read-only, as in most containers: run on the host",
  ENOENT: "the device or driver is not there: look with lspci -k",
};

function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
