import { plainText } from "@peerbar/p2pdma";
import { type ExitCode, exit } from "../exit.js";
import type { Io } from "../io.js";
import { makeStyle, type Style } from "../style.js";
import { plural, wrap } from "../wrap.js";
import type { Kind, KindCaptures, Kinds, MachineClass } from "./classes.js";
import { devicesOf } from "./devices.js";
import type { Difference } from "./difference.js";
import type { Ledger } from "./ledger.js";
import type { Readers } from "./pool.js";
import { isReading } from "./reading.js";

/** What an audit found, before it is told. */
export interface Account {
  readonly ledgers: readonly Ledger[];
  readonly kinds: Kinds;
  readonly captures: KindCaptures;
  readonly readers: Readers;
  readonly classes: readonly MachineClass[];
}

/** A form of output. `write` gives the exit code. */
export interface Report {
  write(account: Account): Promise<ExitCode>;
}

/** One kind of a class that is not the reference, with what is different about it. */
interface Deviant {
  readonly kind: Kind;
  readonly difference: Difference;
}

/** Compares each kind of a class with the reference, a few at once, in order. */
async function* deviantsOf(
  { captures, readers }: Account,
  machines: MachineClass,
  limit = Number.POSITIVE_INFINITY,
): AsyncGenerator<Deviant> {
  const reference = await captures.sideOf(machines.reference);
  const others = machines.kinds.filter(({ kind }) => kind !== machines.reference.kind);
  const ahead: Promise<Deviant>[] = [];
  for (const kind of others.slice(0, limit)) {
    const side = await captures.sideOf(kind);
    ahead.push(readers.compare(reference, side).then((difference) => ({ kind, difference })));
    const first = ahead.length >= readers.jobs * 4 ? ahead.shift() : undefined;
    if (first !== undefined) yield await first;
  }
  for (const rest of ahead) yield await rest;
}

/** True where what differs is only that one side does not show it. */
function isOnlyHidden({ drifts }: Difference): boolean {
  return drifts.every(({ how }) => how === "not-shown");
}

/** Counts that decide the exit code: differences are a no, what cannot be told comes second. */
class Tally {
  differ = 0;
  cannotTell = 0;

  /** Captures that are like each other, and do not show enough to say that they are as they should be. */
  alike({ reference, kinds }: MachineClass): void {
    const same = kinds.find(({ kind }) => kind === reference.kind);
    if (reference.hidden > 0) this.cannotTell += same?.count ?? 0;
  }

  count({ kind, difference }: Deviant): void {
    if (isOnlyHidden(difference)) this.cannotTell += kind.count;
    else this.differ += kind.count;
  }

  code(unread: number): ExitCode {
    if (this.differ > 0) return exit.no;
    return this.cannotTell + unread > 0 ? exit.unknown : exit.ok;
  }
}

/** Kinds told of a class in text; JSON has all. */
const TOLD = 20;
/** Lines told of one kind in text. */
const LINES = 12;

/** Paragraphs for people: a class at a time, the largest first. */
export class TextReport implements Report {
  readonly #io: Io;
  readonly #style: Style;
  /** Directory that all captures are below; paths are told without it. */
  #base = "";

  constructor(io: Io) {
    this.#io = io;
    this.#style = makeStyle(io.color);
  }

  async write(account: Account): Promise<ExitCode> {
    const tally = new Tally();
    this.#base = account.kinds.base ?? "";
    if (this.#base !== "") this.#io.out(`captures below ${plainText(this.#base)}\n\n`);
    for (const machines of account.classes) await this.#class(account, machines, tally);
    await this.#unread(account);
    const { kinds, classes } = account;
    const parts = [
      plural(kinds.captures, "capture"),
      plural(classes.length, "class", "classes"),
      `${String(tally.differ)} differ${tally.differ === 1 ? "s" : ""} from the class`,
      ...(tally.cannotTell > 0
        ? [`${String(tally.cannotTell)} cannot be told: not all is shown`]
        : []),
      ...(kinds.unread > 0 ? [`${plural(kinds.unread, "file")} could not be read`] : []),
    ];
    this.#io.out(`${parts.join(", ")}.\n`);
    return tally.code(kinds.unread);
  }

  async #class(account: Account, machines: MachineClass, tally: Tally): Promise<void> {
    const { reference, captures: count } = machines;
    const style = this.#style;
    const topology = await account.captures.topologyOf(reference);
    const [example = ""] = this.#names(reference);
    this.#io.out(
      `${style.bold(`class ${machines.name}`)}  ${plural(count, "capture")}, ${String(reference.count)} alike: ${devicesOf(topology)} (${example})\n`,
    );
    tally.alike(machines);
    if (reference.hidden > 0) {
      this.#lines(
        2,
        `${style.warn("cannot be told")}: the ACS of ${plural(reference.hidden, "function")} is not shown in ${String(reference.count)} that are alike`,
      );
    }
    let told = 0;
    for await (const deviant of deviantsOf(account, machines)) {
      tally.count(deviant);
      if (told < TOLD) this.#deviant(deviant);
      told += 1;
    }
    if (told > TOLD) {
      this.#io.out(`  ... and ${plural(told - TOLD, "other kind")}: --json lists all\n`);
    }
    this.#io.out("\n");
  }

  #names({ paths }: Kind): readonly string[] {
    return paths.map((path) => plainText(path.slice(this.#base.length)));
  }

  #deviant({ kind, difference }: Deviant): void {
    const hidden = isOnlyHidden(difference);
    const verb = hidden ? "cannot be told" : kind.count === 1 ? "differs" : "differ";
    const more = kind.count - kind.paths.length;
    const names = `${this.#names(kind).join(" ")}${more > 0 ? ` and ${String(more)} more` : ""}`;
    const mark = hidden ? this.#style.warn : this.#style.bad;
    this.#lines(2, `${mark(`${String(kind.count)} ${verb}`)}: ${names}`);
    const { words, pairs } = difference;
    for (const text of words.slice(0, LINES)) this.#lines(4, text);
    if (words.length > LINES) this.#lines(4, `... and ${String(words.length - LINES)} more`);
    if (pairs.length > 0) this.#lines(4, pairWords(pairs));
  }

  async #unread({ ledgers, kinds }: Account): Promise<void> {
    if (kinds.unread === 0) return;
    let told = 0;
    for (const ledger of ledgers) {
      for await (const outcome of ledger.outcomes()) {
        if (isReading(outcome)) continue;
        if (told < TOLD) this.#lines(0, `not read: ${outcome.error}`);
        told += 1;
      }
    }
    if (told > TOLD) this.#io.out(`... and ${String(told - TOLD)} more\n`);
    this.#io.out("\n");
  }

  #lines(indent: number, text: string): void {
    const pad = " ".repeat(indent);
    const [first = "", ...rest] = wrap(text, this.#io.width - indent - 2);
    this.#io.out(`${pad}${first}\n${rest.map((line) => `${pad}  ${line}\n`).join("")}`);
  }
}

/** `changes 12 pairs: 8 bus-addr to thru-host-bridge (0000:1b:00.0 from 0000:1c:00.0), ...`. */
function pairWords(pairs: Difference["pairs"]): string {
  const kinds = new Map<string, { count: number; example: string }>();
  for (const { before, after, provider, client } of pairs) {
    const key =
      before.mapType !== after.mapType
        ? `${before.mapType} to ${after.mapType}`
        : before.mapping !== after.mapping
          ? `${before.mapType} by ${after.mapping} instead of ${before.mapping} addresses`
          : "another distance";
    const known = kinds.get(key);
    if (known === undefined) kinds.set(key, { count: 1, example: `${client} to ${provider}` });
    else known.count += 1;
  }
  const list = [...kinds].map(
    ([key, { count, example }]) => `${String(count)} ${key} (${example})`,
  );
  return `so ${pairs.length === 1 ? "1 pair answers" : `${String(pairs.length)} pairs answer`} otherwise: ${list.join(", ")}`;
}

/** JSON Lines: a head, a line for each class, difference, differing or unread capture, and a summary. */
export class JsonReport implements Report {
  readonly #io: Io;

  constructor(io: Io) {
    this.#io = io;
  }

  async write(account: Account): Promise<ExitCode> {
    const { kinds, classes, readers } = account;
    const tally = new Tally();
    this.#line({ type: "audit", schemaVersion: 1, captures: kinds.captures, jobs: readers.jobs });
    const deviant = new Map<string, string>();
    for (const machines of classes) {
      const { name, reference, captures } = machines;
      const devices = devicesOf(await account.captures.topologyOf(reference));
      this.#line({
        type: "class",
        class: name,
        captures,
        alike: reference.count,
        hidden: reference.hidden,
        kind: reference.kind,
        reference: reference.paths[0],
        devices,
      });
      tally.alike(machines);
      for await (const { kind, difference } of deviantsOf(account, machines)) {
        tally.count({ kind, difference });
        deviant.set(kind.kind, name);
        this.#line({
          type: "difference",
          class: name,
          kind: kind.kind,
          captures: kind.count,
          ...difference,
        });
        await this.#io.drain?.();
      }
    }
    await this.#captures(account, deviant);
    const summary = { differ: tally.differ, cannotTell: tally.cannotTell, unread: kinds.unread };
    this.#line({ type: "summary", captures: kinds.captures, classes: classes.length, ...summary });
    return tally.code(kinds.unread);
  }

  async #captures({ ledgers }: Account, deviant: ReadonlyMap<string, string>): Promise<void> {
    for (const ledger of ledgers) {
      for await (const outcome of ledger.outcomes()) {
        if (!isReading(outcome))
          this.#line({ type: "unread", path: outcome.path, error: outcome.error });
        else if (deviant.has(outcome.kind)) {
          const { path, hash, kind } = outcome;
          this.#line({ type: "capture", path, hash, kind, class: deviant.get(kind) });
        }
        await this.#io.drain?.();
      }
    }
  }

  #line(value: unknown): void {
    this.#io.out(`${JSON.stringify(value)}\n`);
  }
}
