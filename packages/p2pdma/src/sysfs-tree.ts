/**
 * A /sys as data, so that the same parser reads the running machine, a directory, an archive or a test's Map. Paths are relative
 * to the root of sysfs, without a leading slash: `bus/pci/devices/0000:00:1f.0/config`. Calls never throw: undefined is "not there or
 * not readable".
 */
export interface SysfsTree {
  /** Names in a directory, links included, in any order. */
  list(path: string): readonly string[] | undefined;
  /** Content of a file, through links. May be shorter than the file for an ordinary user: that is no error (p2pdma R29). */
  read(path: string): Uint8Array | undefined;
  /** Target of a link as it is written: `../../../devices/pci0000:00/0000:00:1f.0`. Undefined where there is no link. */
  readlink(path: string): string | undefined;
}

/** One file or link of a {@link MapSysfsTree}. */
export type SysfsEntry = Uint8Array | string | { readonly link: string };

/** Joins and normalises: `.` and `..` are resolved, never above the root. */
export function joinPath(base: string, path: string): string {
  const parts: string[] = [];
  for (const part of `${base}/${path}`.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== "" && part !== ".") parts.push(part);
  }
  return parts.join("/");
}

/** Links that a look-up follows before it gives up: as the kernel's ELOOP. */
const MAX_LINKS = 40;

interface Node {
  readonly children: Map<string, Node>;
  data: Uint8Array | undefined;
  link: string | undefined;
}

function newNode(): Node {
  return { children: new Map(), data: undefined, link: undefined };
}

interface Encoder {
  encode(text: string): Uint8Array;
}

const { TextEncoder } = globalThis as unknown as { readonly TextEncoder: new () => Encoder };

/** A tree from paths and contents: what archives are unpacked into. */
export class MapSysfsTree implements SysfsTree {
  readonly #root = newNode();

  /**
   * @param entries - path below the root of sysfs, and a file's content or a link's target; directories come by themselves
   */
  constructor(entries: Iterable<readonly [string, SysfsEntry]>) {
    for (const [path, entry] of entries) this.#add(path, entry);
  }

  #add(path: string, entry: SysfsEntry): void {
    let node = this.#root;
    for (const part of joinPath("", path).split("/")) {
      const next = node.children.get(part) ?? newNode();
      node.children.set(part, next);
      node = next;
    }
    if (typeof entry === "string") node.data = new TextEncoder().encode(entry);
    else if (entry instanceof Uint8Array) node.data = entry;
    else node.link = entry.link;
  }

  list(path: string): readonly string[] | undefined {
    const node = this.#find(path, true);
    return node === undefined || node.data !== undefined ? undefined : [...node.children.keys()];
  }

  read(path: string): Uint8Array | undefined {
    return this.#find(path, true)?.data;
  }

  readlink(path: string): string | undefined {
    return this.#find(path, false)?.link;
  }

  #find(path: string, followLast: boolean): Node | undefined {
    let links = 0;
    let parts = joinPath("", path).split("/");
    let node = this.#root;
    let walked: string[] = [];
    while (parts.length > 0) {
      const [part = "", ...rest] = parts;
      parts = rest;
      const next = node.children.get(part);
      if (next === undefined) return undefined;
      walked.push(part);
      if (next.link === undefined || (parts.length === 0 && !followLast)) {
        node = next;
        continue;
      }
      links += 1;
      if (links > MAX_LINKS) return undefined;
      const target = joinPath(walked.slice(0, -1).join("/"), next.link);
      parts = [...target.split("/"), ...parts];
      node = this.#root;
      walked = [];
    }
    return node;
  }
}
