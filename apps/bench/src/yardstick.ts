import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Operation, Program, Skipped } from "./case.js";
import { scratchFolder } from "./scratch.js";

/** Yardstick by `Map`: a pair of set and delete, the smallest bookkeeping there is. */
export function mapPair(): Operation {
  const map = new Map<number, number>();
  let key = 0;
  return () => {
    key = (key + 1) & 0xffff;
    map.set(key, key);
    map.delete(key);
  };
}

/** Awaits in one call of {@link awaits}. */
export const AWAITS = 1000;

/** Yardstick by `Promise`: waiting for what is already there, {@link AWAITS} times. */
export async function awaits(): Promise<void> {
  for (let i = 0; i < AWAITS; i++) await Promise.resolve();
}

let folder: string | undefined;
const compiled = new Map<string, string | Skipped>();

/** A C program of yardsticks/, compiled on the spot, which prints nanoseconds for one operation. */
export function cYardstick(name: string, ...args: string[]): Program | Skipped {
  const program = compiled.get(name) ?? compile(name);
  compiled.set(name, program);
  if (typeof program !== "string") return program;
  return { sample: () => runOnce(program, args) };
}

function compile(name: string): string | Skipped {
  const source = fileURLToPath(new URL(`../yardsticks/${name}.c`, import.meta.url));
  folder ??= scratchFolder().path;
  const program = join(folder, name);
  const result = spawnSync("gcc", ["-O2", "-o", program, source], { encoding: "utf8" });
  if (result.error !== undefined) return { skipped: "no gcc here: the yardstick is a C program" };
  return result.status === 0 ? program : { skipped: `gcc failed: ${result.stderr.trim()}` };
}

function runOnce(program: string, args: readonly string[]): number {
  const ran = spawnSync(program, args, { encoding: "utf8" });
  const ns = Number(ran.stdout);
  if (ran.status !== 0 || !(ns > 0))
    throw new Error(`the C yardstick ${program} failed: ${ran.stderr}`);
  return ns;
}
