import { stat } from "node:fs/promises";
import { captureHash, factsOf, kindOfMachine, toCapture } from "@peerbar/p2pdma";
import { readTopology } from "@peerbar/p2pdma/node";
import { failureText } from "../failure.js";

/** What an audit keeps of one capture. */
export interface Reading {
  readonly path: string;
  /** Size and time of the file: what says whether a capture was read before. */
  readonly stamp: string;
  /** Content hash of the capture: everything that it says of the machine. */
  readonly hash: string;
  /** Machines of one shape have the same devices in the same slots; of one kind, the same facts. */
  readonly shape: string;
  readonly kind: string;
  /** Facts that decide answers and that the capture does not show. */
  readonly hidden: number;
}

/** A file that is no capture, or a damaged one. */
interface Unread {
  readonly path: string;
  readonly stamp: string;
  readonly error: string;
}

export type Outcome = Reading | Unread;

export interface ReadOptions {
  readonly linkSpeed: boolean;
}

/** One file read. `capture` is there for a kind that its reader has not seen. */
export interface ReadResult {
  readonly outcome: Outcome;
  readonly capture?: string;
}

/** Size and modification time; empty for a file that cannot be looked at: reading it will say why. */
export async function stampOf(path: string): Promise<string> {
  try {
    const { size, mtimeMs } = await stat(path);
    return `${size.toString()}@${Math.round(mtimeMs).toString()}`;
  } catch {
    return "";
  }
}

/** Reads captures one after another; one for each thread and audit. */
export class CaptureReader {
  readonly #seen = new Set<string>();

  /** Reads one capture: never throws for what is wrong with the file. */
  async read(path: string, stamp: string, { linkSpeed }: ReadOptions): Promise<ReadResult> {
    try {
      const topology = await readTopology(path);
      const facts = factsOf(topology, { linkSpeed });
      const { shape, kind } = kindOfMachine(facts);
      const hidden = facts.filter(
        ({ name, value }) => name === "acs" && value === undefined,
      ).length;
      const outcome = { path, stamp, hash: captureHash(topology), shape, kind, hidden };
      if (this.#seen.has(kind)) return { outcome };
      this.#seen.add(kind);
      return { outcome, capture: toCapture(topology) };
    } catch (error) {
      return { outcome: { path, stamp, error: failureText(error) } };
    }
  }
}

export function isReading(outcome: Outcome): outcome is Reading {
  return "kind" in outcome;
}
