import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { type FileHandle, open, truncate } from "node:fs/promises";
import { DmaBufError } from "@peerbar/core";
import { isReading, type Outcome, type ReadResult } from "./reading.js";

/** Where a kind's capture stands in the file, in bytes. */
interface Where {
  readonly offset: number;
  readonly length: number;
}

type Line =
  | { readonly type: "ledger"; readonly schemaVersion: 1; readonly linkSpeed: boolean }
  | ({ readonly type: "capture" } & Outcome)
  | { readonly type: "kind"; readonly kind: string; readonly capture: string };

/**
 * What an audit has read so far, as JSON Lines: one line a capture, and each kind's capture once. It lets an audit resume, lets shards be
 * merged, and keeps memory small: what is not needed at once stays in the file.
 *
 * A line that was being written when the machine stopped is dropped when the ledger is opened again.
 */
export class Ledger {
  readonly path: string;
  readonly #file: FileHandle;
  #end = 0;
  #buffer: string[] = [];
  readonly #stamps = new Map<string, string>();
  /** Paths that this run asked for; undefined where the whole ledger counts. */
  readonly #asked: Set<string> | undefined;
  readonly #kinds = new Map<string, Where>();

  private constructor(path: string, file: FileHandle, whole: boolean) {
    this.path = path;
    this.#file = file;
    this.#asked = whole ? undefined : new Set();
  }

  /**
   * Opens a ledger, or begins one where there is none. With `mustExist` it is only read, and all of it counts; else what this run does
   * not ask for is passed over.
   *
   * @throws DmaBufError ENOENT, EACCES for the file, EINVAL where it is a directory or no ledger, or one made with other options
   */
  static async open(
    path: string,
    options: { readonly linkSpeed?: boolean; readonly mustExist?: boolean } = {},
  ): Promise<Ledger> {
    const file = await open(path, options.mustExist === true ? "r" : "a+").catch(
      (cause: unknown) => {
        throw refused(path, cause);
      },
    );
    const ledger = new Ledger(path, file, options.mustExist === true);
    try {
      await ledger.#load(options);
    } catch (error) {
      await file.close();
      throw error;
    }
    return ledger;
  }

  async #load(options: {
    readonly linkSpeed?: boolean;
    readonly mustExist?: boolean;
  }): Promise<void> {
    const linkSpeed = options.linkSpeed ?? false;
    for await (const { line, offset, length } of this.#lines()) {
      if (offset === 0) this.#checkHead(line, options);
      if (line.type === "capture") this.#stamps.set(keyOf(line.path), line.stamp);
      if (line.type === "kind") this.#kinds.set(line.kind, { offset, length });
      this.#end = offset + length;
    }
    const { size } = await this.#file.stat();
    if (options.mustExist === true) {
      if (this.#end === 0) throw noLedger(this.path);
      return;
    }
    if (this.#end === 0 && !(await this.#isCutHead(size))) throw noLedger(this.path);
    if (size > this.#end) await truncate(this.path, this.#end);
    if (this.#end === 0) {
      this.#write(headOf(linkSpeed));
      await this.flush();
    }
  }

  /** Of a file without a whole line: all that a crash can leave is the beginning of a head. Anything else is somebody's. */
  async #isCutHead(size: number): Promise<boolean> {
    const heads = [false, true].map((linkSpeed) => JSON.stringify(headOf(linkSpeed)));
    if (heads.every(({ length }) => size > length)) return false;
    const bytes = Buffer.alloc(size);
    await this.#file.read(bytes, 0, size, 0);
    return heads.some((head) => head.startsWith(bytes.toString("utf8")));
  }

  #checkHead(line: Line, options: { readonly linkSpeed?: boolean }): void {
    if (line.type !== "ledger") throw noLedger(this.path);
    if (options.linkSpeed === undefined || line.linkSpeed === options.linkSpeed) return;
    throw new DmaBufError(
      "EINVAL",
      "audit",
      `${this.path} was made ${line.linkSpeed ? "with" : "without"} --link-speed`,
      { hint: "use the same options, or another ledger" },
    );
  }

  /** Asks for a file: true where it was read before and has not changed since. */
  has(path: string, stamp: string): boolean {
    this.#asked?.add(keyOf(path));
    return stamp !== "" && this.#stamps.get(keyOf(path)) === stamp;
  }

  /** Adds what was read of one capture; a later line about the same path counts instead of the earlier. */
  async add({ outcome, capture }: ReadResult): Promise<void> {
    this.#stamps.set(keyOf(outcome.path), outcome.stamp);
    if (isReading(outcome) && capture !== undefined && !this.#kinds.has(outcome.kind)) {
      const offset = this.#end;
      const length = this.#write({ type: "kind", kind: outcome.kind, capture });
      this.#kinds.set(outcome.kind, { offset, length });
    }
    this.#write({ type: "capture", ...outcome });
    if (this.#buffer.length >= 64) await this.flush();
  }

  #write(line: Line): number {
    const text = `${JSON.stringify(line)}\n`;
    const length = Buffer.byteLength(text);
    this.#buffer.push(text);
    this.#end += length;
    return length;
  }

  /** What was added is in the file when this ends. */
  async flush(): Promise<void> {
    const text = this.#buffer.join("");
    this.#buffer = [];
    if (text !== "") await this.#file.appendFile(text);
  }

  /** What is known of each capture, in the order read. Of a path that was read twice only the last counts. */
  async *outcomes(): AsyncGenerator<Outcome> {
    await this.flush();
    for await (const { line } of this.#lines()) {
      if (line.type !== "capture") continue;
      const key = keyOf(line.path);
      if (this.#stamps.get(key) !== line.stamp || this.#asked?.has(key) === false) continue;
      yield line;
    }
  }

  /** The capture of a kind; undefined where this ledger has none. */
  async captureOf(kind: string): Promise<string | undefined> {
    await this.flush();
    const where = this.#kinds.get(kind);
    if (where === undefined) return undefined;
    const bytes = Buffer.alloc(where.length);
    await this.#file.read(bytes, 0, where.length, where.offset);
    const line = JSON.parse(bytes.toString("utf8")) as Line;
    return line.type === "kind" ? line.capture : undefined;
  }

  async close(): Promise<void> {
    await this.flush();
    await this.#file.close();
  }

  /** Whole lines with their places; what follows the last line feed is left out. */
  async *#lines(): AsyncGenerator<{ line: Line; offset: number; length: number }> {
    let rest: Buffer = Buffer.alloc(0);
    let offset = 0;
    for await (const chunk of createReadStream(this.path) as AsyncIterable<Buffer>) {
      rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
      for (let end = rest.indexOf(10); end >= 0; end = rest.indexOf(10)) {
        const line = parseLine(rest.toString("utf8", 0, end), this.path);
        yield { line, offset, length: end + 1 };
        offset += end + 1;
        rest = rest.subarray(end + 1);
      }
    }
  }
}

function headOf(linkSpeed: boolean): Line {
  return { type: "ledger", schemaVersion: 1, linkSpeed };
}

function parseLine(text: string, path: string): Line {
  try {
    const line: unknown = JSON.parse(text);
    if (typeof line === "object" && line !== null && "type" in line) return line as Line;
  } catch {
    // Told below.
  }
  throw noLedger(path);
}

function noLedger(path: string): DmaBufError {
  return new DmaBufError("EINVAL", "audit", `${path} is no ledger of an audit`, {
    hint: "name a file that `peerbar audit --ledger` wrote, or one that does not exist yet",
  });
}

function refused(path: string, cause: unknown): DmaBufError {
  const code = cause instanceof Error && "code" in cause ? String(cause.code) : "unknown error";
  const privilege = ["EACCES", "EPERM", "EROFS"].includes(code);
  const named = code === "ENOENT" ? "ENOENT" : "EINVAL";
  return new DmaBufError(privilege ? "EACCES" : named, "audit", `${path}: ${code}`, {
    cause,
    hint: "choose a ledger in a directory that exists and that you may write to",
  });
}

/** 66 bits of the path's hash: memory for a million captures stays small, and two paths do not meet. */
function keyOf(path: string): string {
  return createHash("sha256").update(path).digest("base64").slice(0, 11);
}
