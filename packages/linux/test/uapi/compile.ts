import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Fact } from "./tables.js";

/** What C says: its number, or why it cannot say one. */
export type Answer = { readonly value: bigint } | { readonly missing: string };

/** The line of the program on which the first fact stands. */
const FIRST_LINE = 6;

function program(header: string, facts: readonly (Fact | undefined)[]): string {
  const line = (fact: Fact | undefined, index: number): string =>
    fact ? `p(${index}, (unsigned long long)(${fact.c}));` : ";";
  return [
    "#include <stddef.h>",
    "#include <stdio.h>",
    `#include <${header}>`,
    'static void p(int i, unsigned long long v) { printf("%d %llu\\n", i, v); }',
    "int main(void) {",
    ...facts.map(line),
    "return 0; }",
    "",
  ].join("\n");
}

/**
 * Compiles one C program with a line a fact. `files` are the headers under test, by the name an #include has; all else they include is
 * the system's, so that a kernel's source tree serves as it is. Lines that do not compile are what an older header lacks; they are left out and reported.
 */
export function ask(
  folder: string,
  header: string,
  files: Readonly<Record<string, string>>,
  facts: readonly Fact[],
): readonly Answer[] {
  const include = join(folder, "include");
  rmSync(include, { recursive: true, force: true });
  for (const [name, file] of Object.entries(files)) {
    mkdirSync(dirname(join(include, name)), { recursive: true });
    copyFileSync(file, join(include, name));
  }
  const missing = new Map<number, string>();
  for (;;) {
    const kept = facts.map((fact, index) => (missing.has(index) ? undefined : fact));
    const errors = compile(folder, include, program(header, kept));
    if (errors.size === 0) break;
    for (const [index, message] of errors) missing.set(index, message);
  }
  const { stdout } = spawnSync(join(folder, "facts"), { encoding: "utf8" });
  const values = new Map<number, bigint>();
  for (const line of stdout.trim().split("\n")) {
    const [index, value] = line.split(" ");
    if (index && value) values.set(Number(index), BigInt(value));
  }
  return facts.map((_, index) => {
    const value = values.get(index);
    return value === undefined ? { missing: missing.get(index) ?? "no answer" } : { value };
  });
}

/** gcc's errors by the index of the fact on whose line they are. */
function compile(folder: string, include: string, source: string): Map<number, string> {
  const file = join(folder, "facts.c");
  writeFileSync(file, source);
  const flags = ["-w", "-fmax-errors=0", "-D__counted_by(m)=", "-D__user=", "-I", include];
  const out = ["-o", join(folder, "facts"), file];
  const gcc = spawnSync("gcc", [...flags, ...out], { encoding: "utf8" });
  if (gcc.error) throw gcc.error;
  const errors = new Map<number, string>();
  if (gcc.status === 0) return errors;
  for (const match of gcc.stderr.matchAll(/^[^\n]*facts\.c:(\d+):\d+: error: ([^\n]*)/gm))
    errors.set(Number(match[1]) - FIRST_LINE, match[2] ?? "");
  if (errors.size === 0 || [...errors.keys()].some((index) => index < 0))
    throw new Error(`gcc: ${gcc.stderr}`);
  return errors;
}
