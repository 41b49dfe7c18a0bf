import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { join, relative } from "node:path";
import { createInterface } from "node:readline";
import { DmaBufError } from "@peerbar/core";
import { glob, isDynamicPattern } from "tinyglobby";

/** Part `index` of `count` equal parts, from 0. */
export interface Shard {
  readonly index: number;
  readonly count: number;
}

/**
 * The captures that the arguments name, each once, directories in order of name: files, directories (all files below; a captured `/sys`
 * is one capture), quoted glob patterns, or `-` for paths on standard input, one a line.
 *
 * A shard is decided by the path below the directory that was named, so that it does not depend on where that is mounted.
 *
 * @throws DmaBufError ENOENT for an argument that names nothing
 */
export async function* capturePaths(
  args: readonly string[],
  shard: Shard,
  stdin: NodeJS.ReadableStream = process.stdin,
): AsyncGenerator<string> {
  for (const arg of args) {
    const paths = arg === "-" ? linesOf(stdin) : named(arg);
    for await (const [path, name] of paths) if (isMine(name, shard)) yield path;
  }
}

type Named = readonly [path: string, name: string];

async function* linesOf(stdin: NodeJS.ReadableStream): AsyncGenerator<Named> {
  for await (const line of createInterface({ input: stdin })) {
    const path = line.trim();
    if (path !== "") yield [path, path];
  }
}

async function* named(arg: string): AsyncGenerator<Named> {
  const info = await stat(arg).catch(() => undefined);
  if (info?.isDirectory() === true) yield* below(arg, arg);
  else if (info !== undefined) yield [arg, arg];
  else if (isDynamicPattern(arg)) yield* matching(arg);
  else {
    throw new DmaBufError("ENOENT", "audit", `there is no ${arg}`, {
      hint: "name captures, a directory of captures, a quoted pattern, or - for paths on standard input",
    });
  }
}

async function* matching(pattern: string): AsyncGenerator<Named> {
  const paths = await glob(pattern, { dot: false, expandDirectories: false });
  if (paths.length === 0) {
    throw new DmaBufError("ENOENT", "audit", `no file matches ${pattern}`, {
      hint: "** matches directories, as in 'captures/**/*.json'",
    });
  }
  for (const path of paths.sort()) yield [path, path];
}

async function* below(root: string, directory: string): AsyncGenerator<Named> {
  if (isSysfs(directory)) {
    yield [directory, relative(root, directory)];
    return;
  }
  const entries = await readdir(directory, { withFileTypes: true });
  entries.sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const entry of entries) {
    // Hidden files are drafts of captures that are being written.
    if (entry.name.startsWith(".")) continue;
    const path = join(directory, entry.name);
    if (entry.isDirectory()) yield* below(root, path);
    else yield [path, relative(root, path)];
  }
}

function isSysfs(directory: string): boolean {
  return ["bus/pci/devices", "sys/bus/pci/devices"].some((path) =>
    existsSync(join(directory, path)),
  );
}

function isMine(name: string, { index, count }: Shard): boolean {
  if (count === 1) return true;
  return createHash("sha256").update(name).digest().readUInt32BE(0) % count === index;
}

/**
 * `i/n`, counted from 0 as Kubernetes counts the indexes of a Job.
 *
 * @throws DmaBufError EINVAL where the text is no shard
 */
export function parseShard(text: string | undefined): Shard {
  if (text === undefined) return { index: 0, count: 1 };
  const [, i, n] = /^(\d{1,7})\/(\d{1,7})$/.exec(text) ?? [];
  const shard = { index: Number(i), count: Number(n) };
  if (i !== undefined && shard.index < shard.count) return shard;
  throw new DmaBufError("EINVAL", "--shard", `"${text}" is no shard`, {
    hint: "write INDEX/COUNT with INDEX from 0 to COUNT - 1, such as 0/4",
  });
}
