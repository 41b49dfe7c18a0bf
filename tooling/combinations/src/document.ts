import { backendNames } from "./backends.js";
import type { Combination, Outcome } from "./combination.js";

export interface Run {
  readonly combination: Combination;
  readonly outcome: Outcome;
}

const HEAD = `# Exporter, importer, backend: what meets, and how it ends

Each cell is one run on the simulated server: export, import, bytes both ways with the memory compared, no byte outside the ranges, revoke,
nothing moves any more, restore, bytes both ways again, nothing left in the IOMMU or on the buffer, sanitizer silent.

This page is written by those runs: \`npx vitest run -u\` in \`tooling/combinations\`. The tests fail where it differs from what ran.

A cell says what the exporter handed over where it works:

- **bus**: bus addresses; **iova**: addresses of the device's default domain; **phys**: physical ranges, which the importer maps itself
- an errno, with the number of its reason below

\`route\` is what p2pdma answers for GPU and NIC. \`after a revoke\` says whether the same import works again once the memory is back.
iommufd asks nobody whether a peer is reachable (iommufd R30): on the routes that p2pdma refuses it works as far as the host bridges
forward, and those of the simulated server do.

`;

/** The page, from what ran. */
export function formatDocument(runs: readonly Run[]): string {
  const reasons = new Reasons();
  const lines = [
    row(["exporter", "importer", "route", ...backendNames, "after a revoke"]),
    row(["---", "---", "---", ...backendNames.map(() => "---"), "---"]),
  ];
  for (const group of rowsOf(runs)) {
    const [first] = group;
    if (first === undefined) continue;
    const { exporter, importer, route } = first.combination;
    const cells = backendNames.map((name) => {
      const run = group.find(({ combination }) => combination.backend === name);
      return run === undefined ? "" : cell(run.outcome, reasons);
    });
    lines.push(row([exporter, importer, route ?? "host memory", ...cells, recovery(group)]));
  }
  return `${HEAD}${lines.join("\n")}\n\n## Reasons\n\n${reasons.list()}\n`;
}

function row(cells: readonly string[]): string {
  return `| ${cells.join(" | ")} |`;
}

/** Runs that differ only in the backend, in the order they ran. */
function rowsOf(runs: readonly Run[]): Iterable<readonly Run[]> {
  const rows = new Map<string, Run[]>();
  for (const run of runs) {
    const { exporter, importer, route } = run.combination;
    const key = [exporter, importer, route].join("\n");
    rows.set(key, [...(rows.get(key) ?? []), run]);
  }
  return rows.values();
}

function cell(outcome: Outcome, reasons: Reasons): string {
  if (outcome.kind === "works") return outcome.via;
  const { errno, rule, reason } = outcome;
  const why = `\`${errno}\`: ${reason}${rule === undefined ? "" : ` (${rule})`}`;
  return `\`${errno}\` ${String(reasons.numberOf(why))}`;
}

function recovery(group: readonly Run[]): string {
  const ways = group.map(({ outcome }) =>
    outcome.kind === "works" ? outcome.recovery : undefined,
  );
  return [...new Set(ways)].filter((way) => way !== undefined).join("; ");
}

/** Reasons in the order they first appear, numbered from 1. */
class Reasons {
  readonly #known: string[] = [];

  numberOf(reason: string): number {
    if (!this.#known.includes(reason)) this.#known.push(reason);
    return this.#known.indexOf(reason) + 1;
  }

  list(): string {
    return this.#known.map((reason, i) => `${String(i + 1)}. ${reason}`).join("\n");
  }
}
