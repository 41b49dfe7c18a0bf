import { randomUUID } from "node:crypto";
import { open, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
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
 * Writes a file whole or not at all: into a new file beside it, which then takes its name. A file that is there stays as it is until then.
 *
 * @throws DmaBufError ENOENT, EACCES, ENOSPC and the like as the system reports them
 */
export async function writeAtomically(path: string, text: string): Promise<void> {
  const draft = join(dirname(path), `.${basename(path)}.${randomUUID()}`);
  try {
    const file = await open(draft, "wx");
    try {
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(draft, path);
  } catch (cause) {
    await rm(draft, { force: true }).catch(() => undefined);
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
