import { Readable } from "node:stream";
import { createGunzip } from "node:zlib";
import { DmaBufError } from "@peerbar/core";
import type { SysfsEntry } from "../sysfs-tree.js";

function tooLarge(name: string, limit: number): DmaBufError {
  return new DmaBufError(
    "EFBIG",
    "p2pdma.readTopology",
    `${name} unpacks to more than ${(limit / 2 ** 20).toString()} MiB`,
    { hint: "a topology is a few megabytes: capture bus/pci/devices and devices/pci* only" },
  );
}

function broken(name: string, what: string, cause: unknown): DmaBufError {
  return new DmaBufError("EINVAL", "p2pdma.readTopology", `${name}: ${what}`, {
    cause,
    hint: "the file may be cut off or damaged: copy it again",
  });
}

/**
 * Unpacks gzip.
 * @throws DmaBufError `EFBIG` past `limit` bytes, `EINVAL` when damaged or cut off
 */
export async function gunzip(bytes: Uint8Array, name: string, limit: number): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  const stream = Readable.from([bytes]).pipe(createGunzip());
  try {
    for await (const chunk of stream as AsyncIterable<Uint8Array>) {
      size += chunk.length;
      if (size > limit) throw tooLarge(name, limit);
      chunks.push(chunk);
    }
  } catch (cause) {
    if (cause instanceof DmaBufError) throw cause;
    throw broken(name, "damaged gzip data", cause);
  } finally {
    stream.destroy();
  }
  return Buffer.concat(chunks);
}

/** True for POSIX and GNU tar: `ustar` in the first header. */
export function isTar(bytes: Uint8Array): boolean {
  const magic = [0x75, 0x73, 0x74, 0x61, 0x72];
  return bytes.length >= 512 && magic.every((code, i) => bytes[257 + i] === code);
}

/**
 * Files and links of an archive, with the path up to sysfs (`sys/`, `./capture/sys/`) taken off.
 * @throws DmaBufError `EINVAL` when damaged, cut off, or without a PCI device in it
 */
export async function readTar(
  bytes: Uint8Array,
  name: string,
): Promise<(readonly [string, SysfsEntry])[]> {
  const entries = await unpackTar(bytes).catch((cause: unknown) => {
    throw broken(name, "damaged tar data", cause);
  });
  const prefix = sysfsPrefix(entries.map(([path]) => path));
  if (prefix === undefined) {
    throw new DmaBufError(
      "EINVAL",
      "p2pdma.readTopology",
      `${name}: no PCI devices in this archive`,
      {
        hint: "capture with: tar czf sys.tar.gz -C / sys/bus/pci/devices sys/devices/pci*",
      },
    );
  }
  return entries.flatMap(([path, entry]) =>
    path.startsWith(prefix) ? [[path.slice(prefix.length), entry] as const] : [],
  );
}

/** By events: an iterator of streams takes twice as long for the many small files of a /sys. */
async function unpackTar(bytes: Uint8Array): Promise<[string, SysfsEntry][]> {
  // The default is the whole CommonJS module, in Node and in a bundle alike; its named exports are there in Node only.
  const { default: tar } = await import("tar-stream");
  const entries: [string, SysfsEntry][] = [];
  const unpack = tar.extract();
  return new Promise((resolve, reject) => {
    unpack.on("entry", (header, stream, next) => {
      const chunks: Uint8Array[] = [];
      stream.on("data", (chunk: Uint8Array) => {
        chunks.push(chunk);
      });
      // A damaged archive is told of by the archive itself, too.
      stream.on("error", reject);
      stream.on("end", () => {
        if (header.type === "symlink" && typeof header.linkname === "string") {
          entries.push([header.name, { link: header.linkname }]);
        } else if (header.type === "file") {
          const [only = new Uint8Array(0), ...others] = chunks;
          entries.push([header.name, others.length === 0 ? only : Buffer.concat(chunks)]);
        }
        next();
      });
    });
    unpack.on("finish", () => {
      resolve(entries);
    });
    unpack.on("error", reject);
    unpack.end(bytes);
  });
}

/** What stands before `bus/pci/devices` or `devices/pci0000:00` in the paths. */
function sysfsPrefix(paths: readonly string[]): string | undefined {
  for (const path of paths) {
    const match = /^(.*?)(?:bus\/pci\/devices\/|devices\/pci[0-9a-f]{4,8}:[0-9a-f]{2}\/)/.exec(
      path,
    );
    if (match !== null) return match[1];
  }
  return undefined;
}
