import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Skipped } from "./case.js";

/** Yardstick by `Map`: a pair of set and delete, the smallest bookkeeping there is. */
export function mapPair(): () => void {
  const map = new Map<number, number>();
  let key = 0;
  return () => {
    key = (key + 1) & 0xffff;
    map.set(key, key);
    map.delete(key);
  };
}

const measured = new Map<string, number>();

/** Compiles and runs a C program of yardsticks/ that prints nanoseconds for one operation. Once a run. */
export function cYardstick(name: string, ...args: string[]): { readonly ns: number } | Skipped {
  const key = [name, ...args].join(" ");
  const known = measured.get(key);
  if (known !== undefined) return { ns: known };
  const source = fileURLToPath(new URL(`../yardsticks/${name}.c`, import.meta.url));
  const folder = mkdtempSync(join(tmpdir(), "peerbar-bench-"));
  try {
    const program = join(folder, name);
    const compiled = spawnSync("gcc", ["-O2", "-o", program, source], { encoding: "utf8" });
    if (compiled.error !== undefined)
      return { skipped: "no gcc here: the yardstick is a C program" };
    if (compiled.status !== 0) return { skipped: `gcc failed: ${compiled.stderr.trim()}` };
    const ran = spawnSync(program, args, { encoding: "utf8" });
    const ns = Number(ran.stdout);
    if (ran.status !== 0 || !(ns > 0)) return { skipped: `the C yardstick ${name} failed` };
    measured.set(key, ns);
    return { ns };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
