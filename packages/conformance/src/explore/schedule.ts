import { CLOCK_ACTOR, SETUP_ACTOR } from "./execution.js";
import { ScenarioError } from "./failure.js";
import type { Task } from "./task.js";

/** One decision: which actor goes on, and which of its tasks where it has several. */
export interface Move {
  readonly actor: number;
  readonly place: number;
}

const LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
/** Most actors that a schedule can name. */
export const MAX_ACTORS = LETTERS.length;

/** The letter of an actor in schedules: `a` is the first, `~` time, `_` work that the setup left. */
export function letterOf(actor: number): string {
  if (actor === CLOCK_ACTOR) return "~";
  if (actor === SETUP_ACTOR) return "_";
  return LETTERS[actor] ?? "?";
}

/** `ab2c1.a`: decisions in order; a number repeats, `'` picks the second task of an actor, `''` the third. */
export function formatSchedule(moves: readonly Move[]): string {
  let text = "";
  for (let i = 0; i < moves.length; ) {
    const token = tokenOf(moves[i]);
    let count = 1;
    while (i + count < moves.length && tokenOf(moves[i + count]) === token) count += 1;
    text += count > 1 ? `${token}${count}` : token;
    i += count;
  }
  return text;
}

/** @throws ScenarioError for text that is no schedule. */
export function parseSchedule(text: string): readonly Move[] {
  const moves: Move[] = [];
  const pattern = /([a-zA-Z~_])('*)(\d{0,5})/y;
  while (pattern.lastIndex < text.length) {
    const found = pattern.exec(text);
    if (found === null) {
      throw new ScenarioError(`"${text}" is no schedule: letters of actors, ~ for time, numbers`);
    }
    const [, letter = "", ticks = "", count = ""] = found;
    const move = { actor: actorOf(letter), place: ticks.length };
    for (let i = count === "" ? 1 : Number(count); i > 0; i--) moves.push(move);
  }
  return moves;
}

/** Index in `ready` of a move; -1 where that task is not ready. */
export function findMove(ready: readonly Task[], { actor, place }: Move): number {
  const first = ready.findIndex((task) => task.actor === actor);
  return first >= 0 && ready[first + place]?.actor === actor ? first + place : -1;
}

/** The move that picks `ready[index]`. */
export function moveOf(ready: readonly Task[], index: number): Move {
  const actor = ready[index]?.actor ?? SETUP_ACTOR;
  return { actor, place: index - ready.findIndex((task) => task.actor === actor) };
}

/**
 * What is chosen where nobody decides: who ran last goes on; after a yield, or where it cannot, the next actor that can.
 */
export function defaultChoice(ready: readonly Task[], last: Task | undefined): number {
  if (last === undefined) return 0;
  let next = -1;
  for (let i = 0; i < ready.length; i++) {
    const task = ready[i];
    if (task === undefined) continue;
    if (task.actor === last.actor && !gaveWay(task)) return i;
    if (next < 0 && task.actor > last.actor) next = i;
  }
  return Math.max(0, next);
}

/** 1 where picking `ready[index]` interrupts an actor that could go on and did not offer it. */
export function preemptions(ready: readonly Task[], index: number, last: Task | undefined): number {
  if (last === undefined || ready[index]?.actor === last.actor) return 0;
  return ready.some((task) => task.actor === last.actor && !gaveWay(task)) ? 1 : 0;
}

/** It let others run of its own accord. */
function gaveWay({ kind }: Task): boolean {
  return kind === "yield" || kind === "latency" || kind === "defer";
}

function tokenOf(move: Move | undefined): string {
  return move === undefined ? "" : letterOf(move.actor) + "'".repeat(move.place);
}

function actorOf(letter: string): number {
  if (letter === "~") return CLOCK_ACTOR;
  if (letter === "_") return SETUP_ACTOR;
  return LETTERS.indexOf(letter);
}
