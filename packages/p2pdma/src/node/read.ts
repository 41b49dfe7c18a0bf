import { createReadStream, existsSync } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { DmaBufError, type ErrnoName, errnos } from "@peerbar/core";
import { parseTopology } from "../parse.js";
import type { PciTopology } from "../pci-topology.js";
import { parseSysfs } from "../sysfs.js";
import { MapSysfsTree } from "../sysfs-tree.js";
import { gunzip, isTar, readTar } from "./archive.js";
import { DirectorySysfsTree } from "./directory-tree.js";

/** How the input is called in messages, and how much of it is read. */
export interface ReadOptions {
  /** Name for messages and `topology.source`; default the path. */
  readonly name?: string;
  /** Most bytes to read or unpack. Default 512 MiB. */
  readonly limit?: number;
}

const LIMIT = 512 * 2 ** 20;

/**
 * Reads a topology from a file or directory, whatever is in it: `lspci` text or hex, a peerbar capture, any of them `.gz`, a `.tar` or
 * `.tar.gz` of a /sys, or a directory that holds one. Content decides, not the name.
 *
 * @throws DmaBufError `ENOENT`, `EACCES` and the like as the system reports them; `EFBIG` past the limit; `EINVAL` (a ParseError with a
 *   line for text) when there is no topology in it. Each has a `hint`.
 */
export async function readTopology(path: string, options: ReadOptions = {}): Promise<PciTopology> {
  const name = options.name ?? path;
  const limit = options.limit ?? LIMIT;
  const info = await system(() => stat(path), "stat", path);
  if (info.isDirectory()) return readDirectory(path, name);
  if (info.size > limit) throw tooLarge(name, info.size, limit);
  // What is no regular file tells no size, and a device never ends.
  const bytes = info.isFile()
    ? await system(() => readFile(path), "open", path)
    : await readStream(path, name, limit);
  return readBytes(bytes, name, limit);
}

async function readBytes(bytes: Uint8Array, name: string, limit: number): Promise<PciTopology> {
  const plain = bytes[0] === 0x1f && bytes[1] === 0x8b ? await gunzip(bytes, name, limit) : bytes;
  if (!isTar(plain)) return parseTopology(plain, { name });
  return parseSysfs(new MapSysfsTree(await readTar(plain, name)), { name });
}

async function readStream(path: string, name: string, limit: number): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  await system(
    async () => {
      for await (const chunk of createReadStream(path) as AsyncIterable<Uint8Array>) {
        size += chunk.length;
        if (size > limit) return;
        chunks.push(chunk);
      }
    },
    "read",
    path,
  );
  if (size > limit) throw tooLarge(name, size, limit);
  return Buffer.concat(chunks);
}

function readDirectory(path: string, name: string): PciTopology {
  const roots = [path, join(path, "sys")];
  const root = roots.find(
    (candidate) =>
      existsSync(join(candidate, "bus/pci/devices")) || existsSync(join(candidate, "devices")),
  );
  return parseSysfs(new DirectorySysfsTree(root ?? path), { name });
}

function tooLarge(name: string, size: number, limit: number): DmaBufError {
  return new DmaBufError(
    "EFBIG",
    "p2pdma.readTopology",
    `${name} has ${size.toString()} bytes or more, and the most that is read is ${(limit / 2 ** 20).toString()} MiB`,
    { hint: "a topology is a few megabytes: is this the right file?" },
  );
}

const hints: Partial<Record<ErrnoName, string>> = {
  ENOENT: "check the path",
  EACCES: "read it as a user who may, or copy it",
  EPERM: "read it as a user who may, or copy it",
};

/** Runs a system call; its error becomes a DmaBufError with the same errno name. */
async function system<T>(call: () => Promise<T>, syscall: string, path: string): Promise<T> {
  try {
    return await call();
  } catch (cause) {
    const code = cause instanceof Error && "code" in cause ? cause.code : undefined;
    const known =
      typeof code === "string" && Object.hasOwn(errnos, code) ? (code as ErrnoName) : "EIO";
    const reasons: Partial<Record<ErrnoName, string>> = {
      ENOENT: "no such file or directory",
      EACCES: "permission denied",
    };
    throw new DmaBufError(known, syscall, `${path}: ${reasons[known] ?? "cannot be read"}`, {
      cause,
      hint: hints[known],
    });
  }
}
