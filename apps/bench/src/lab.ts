import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { BenchCase, Skipped, Taken } from "./case.js";
import { runNode } from "./run-node.js";
import { scratchFolder } from "./scratch.js";

/** Exit code of the lab where it cannot run. */
const CANNOT = 3;

type LabRows = ReadonlyMap<string, Taken> | Skipped;

let booted: Promise<LabRows> | undefined;

/** A case that the kernel lab runs inside its machine, against a C program there. All of them share one boot. */
export function labCase(id: string): BenchCase {
  return {
    id,
    async setup({ hurried }) {
      if (hurried)
        return { skipped: "a quick run boots no machine: pnpm bench native, or pnpm lab bench" };
      booted ??= bootLab();
      const rows = await booted;
      if ("skipped" in rows) return rows;
      const row = rows.get(id);
      if (row === undefined) throw new Error("the lab did not measure it");
      return row;
    },
  };
}

/** Boots the lab where that needs no building, and takes its rounds over. @throws Error where it ran and failed, or its kernel complained. */
async function bootLab(): Promise<LabRows> {
  const lab = fileURLToPath(new URL("../../../tooling/kernel-lab/lab.mjs", import.meta.url));
  const folder = scratchFolder();
  try {
    const file = join(folder.path, "rounds.json");
    const { code, said } = await runNode([lab, "bench", "--cached", "--json", file], (text) => {
      process.stderr.write(text);
    });
    const lines = said.trimEnd().split("\n");
    const last = (lines.at(-1) ?? "it said nothing").replace(/^lab: /, "");
    // Once it boots, not to come to an end is a failure.
    if (code === CANNOT && !lines.some((line) => line.startsWith("lab: booting")))
      return { skipped: `the kernel lab cannot run here: ${last}` };
    if (code !== 0) throw new Error(`the kernel lab ended with ${String(code)}, as said above`);
    const { rows } = JSON.parse(readFileSync(file, "utf8")) as { rows: (Taken & { id: string })[] };
    return new Map(rows.map(({ id, ns, yardstickNs }) => [id, { ns, yardstickNs }]));
  } finally {
    folder.remove();
  }
}
