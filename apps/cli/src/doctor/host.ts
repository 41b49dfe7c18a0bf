import {
  accessSync,
  constants,
  existsSync,
  readdirSync,
  readFileSync,
  readlinkSync,
} from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { DmaBufError } from "@peerbar/core";
import type { PciTopology } from "@peerbar/p2pdma";

/** What may be done with a device node. */
export type Access = "ok" | "denied" | "absent";

/**
 * A machine as files, read-only. Paths are absolute, as on the machine itself (`/proc/cmdline`). Calls never throw: undefined is "not
 * there or not readable". Tests give a Map; `--root` gives a directory.
 */
export interface Host {
  /** `/`, or what `--root` names. */
  readonly name: string;
  text(path: string): string | undefined;
  /** Unpacks gzip. */
  gzipText(path: string): string | undefined;
  list(path: string): readonly string[] | undefined;
  /** Last part of a link's target: a driver, an IOMMU group. */
  linkName(path: string): string | undefined;
  /** To read and write. */
  access(path: string): Access;
  /** The PCI functions in /sys. @throws DmaBufError ENODEV where there are none */
  topology(): Promise<PciTopology>;
}

/**
 * The file system below a directory; `/` is this machine.
 *
 * @throws DmaBufError ENOENT where there is no such directory
 */
export function rootedHost(root: string): Host {
  if (attempt(() => readdirSync(root)) === undefined) {
    throw new DmaBufError("ENOENT", "doctor", `${root} is no directory that can be read`, {
      hint: "give --root the directory that holds proc, sys and dev",
    });
  }
  const at = (path: string): string => join(root, path);
  return {
    name: root,
    text: (path) => attempt(() => readFileSync(at(path), "utf8")),
    gzipText: (path) => attempt(() => gunzipSync(readFileSync(at(path))).toString("utf8")),
    list: (path) => attempt(() => readdirSync(at(path))),
    linkName: (path) => attempt(() => readlinkSync(at(path)).split("/").at(-1)),
    access: (path) => {
      if (!existsSync(at(path))) return "absent";
      return (
        attempt(() => {
          accessSync(at(path), constants.R_OK | constants.W_OK);
          return "ok" as const;
        }) ?? "denied"
      );
    },
    topology: async () => {
      const { liveTopology } = await import("@peerbar/p2pdma/node");
      return liveTopology(root === "/" ? "/sys" : at("/sys"));
    },
  };
}

function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
