import { randomUUID } from "node:crypto";
import { constants, type Stats } from "node:fs";
import { chmod, lstat, open, readlink, realpath, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { DmaBufError, type ErrnoName, errnos } from "@peerbar/core";

const hints: Partial<Record<ErrnoName, string>> = {
  ENOENT: "make the directory first",
  EACCES: "choose a directory you may write to",
  EPERM: "choose a directory you may write to",
  EROFS: "choose a file system that is writable",
  ENOSPC: "make room, or choose another file system",
};

const placeHints: Readonly<Record<string, string>> = {
  EISDIR: "it is a directory: name a file in it",
  ENOTDIR: "a part of the path is no directory",
  ENAMETOOLONG: "choose a shorter name",
  ELOOP: "its links go round in circles",
};

/** Errno name of a failing call of Node's; EIO where it is none that is known here. */
function errnoOf(cause: unknown): ErrnoName {
  const code = cause instanceof Error && "code" in cause ? cause.code : undefined;
  return typeof code === "string" && Object.hasOwn(errnos, code) ? (code as ErrnoName) : "EIO";
}

/**
 * Writes a file whole or not at all: into a new file beside it, which then takes its name. A file that is there stays as it is until then,
 * and its permissions pass on to the new one. A symbolic link stays, and what it leads to is written.
 *
 * What is no regular file (a device node, a FIFO, an open descriptor as `/dev/stdout`) is written to as it is: a rename would put a file
 * in its place.
 *
 * @throws DmaBufError ENOENT, EACCES, ENOSPC and the like as the system reports them
 */
export async function writeAtomically(path: string, text: string): Promise<void> {
  try {
    const place = await placeOf(path);
    if (place.kind === "stream") await writeTo(path, text);
    else await replace(place.path, text, place.mode);
  } catch (cause) {
    const named = cause instanceof Error && "code" in cause ? String(cause.code) : "unknown error";
    const place = placeHints[named];
    // Names that the errno table lacks all say that the path is no place for a file.
    const code = place === undefined ? errnoOf(cause) : "EINVAL";
    throw new DmaBufError(code, "write", `${path} cannot be written (${named})`, {
      cause,
      hint: place ?? hints[code] ?? "choose another place with -o",
    });
  }
}

/** Where the bytes go: into a file of that name, whose mode is kept where there is one, or into whatever is there. */
type Place =
  | { readonly kind: "file"; readonly path: string; readonly mode: number | undefined }
  | { readonly kind: "stream" };

async function placeOf(path: string): Promise<Place> {
  const there = await existing(() => stat(path));
  // A directory is refused by the rename, whose error says so.
  if (there !== undefined && !there.isFile() && !there.isDirectory()) return { kind: "stream" };
  const target = await followLinks(path);
  if (target === undefined) return { kind: "stream" };
  return { kind: "file", path: target, mode: there?.isFile() === true ? there.mode : undefined };
}

/** The path behind all symbolic links, also where the last one leads to nothing yet; undefined where it is an open descriptor. */
async function followLinks(path: string): Promise<string | undefined> {
  let at = path;
  // As many as Linux follows; a circle was refused by stat() before.
  for (let links = 0; links < 40; links += 1) {
    const info = await existing(() => lstat(at));
    if (info?.isSymbolicLink() !== true) return at;
    const directory = await realpath(dirname(at));
    if (directory.startsWith("/proc/")) return undefined;
    at = resolve(directory, await readlink(at));
  }
  return at;
}

async function existing(look: () => Promise<Stats>): Promise<Stats | undefined> {
  try {
    return await look();
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw error;
  }
}

async function writeTo(path: string, text: string): Promise<void> {
  // Never created or cut: what is there may be a descriptor that somebody else has written to.
  const stream = await open(path, constants.O_WRONLY | constants.O_APPEND);
  try {
    await stream.writeFile(text);
  } finally {
    await stream.close();
  }
}

async function replace(path: string, text: string, mode: number | undefined): Promise<void> {
  const draft = join(dirname(path), `.${basename(path)}.${randomUUID()}`);
  try {
    const file = await open(draft, "wx");
    try {
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    if (mode !== undefined) await chmod(draft, mode & 0o7777);
    await rename(draft, path);
  } catch (cause) {
    await rm(draft, { force: true }).catch(() => undefined);
    throw cause;
  }
}
