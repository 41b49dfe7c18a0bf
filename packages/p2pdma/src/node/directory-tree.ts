import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import type { SysfsTree } from "../sysfs-tree.js";

/** A directory on disk as a {@link SysfsTree}: /sys itself, or a copy of one. Reads on demand; keeps nothing open. */
export class DirectorySysfsTree implements SysfsTree {
  readonly #root: string;

  /** @param root - what stands for `/sys`: the directory that holds `bus` and `devices`; nothing is read before it is asked for */
  constructor(root: string) {
    this.#root = root;
  }

  list(path: string): readonly string[] | undefined {
    return attempt(() => readdirSync(join(this.#root, path)));
  }

  read(path: string): Uint8Array | undefined {
    return attempt(() => readFileSync(join(this.#root, path)));
  }

  readlink(path: string): string | undefined {
    return attempt(() => readlinkSync(join(this.#root, path)));
  }
}

/** Files come and go with hot-plug, and many need privileges: both mean "not shown". */
function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
