import { parseArgs } from "node:util";
import { compare, readBaseline } from "./baseline.js";
import { combo } from "./combo/combo.js";
import { formatFacts, machineFacts } from "./facts.js";
import { full, quick } from "./measure.js";
import { formatResults, writeResults } from "./output.js";
import { type Results, runSuites } from "./run.js";
import { type Suite, suites } from "./suites.js";
import { changeTable } from "./table.js";
import { hasFailed } from "./targets.js";

const USAGE = `usage: bench [SUITE...] [--json FILE] [--quick] [--baseline FILE]
       bench combo [--exporter NAME|FILE] [--importer NAME|FILE] [--backend NAME|FILE] [--json FILE] [--quick]
suites: ${Object.keys(suites).join(", ")}; all by default`;

/** 0 all targets hold, 1 one does not or a case got slower than the baseline, 2 usage. */
async function main(args: readonly string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      json: { type: "string" },
      quick: { type: "boolean", default: false },
      baseline: { type: "string" },
      exporter: { type: "string", multiple: true },
      importer: { type: "string", multiple: true },
      backend: { type: "string", multiple: true },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(`${USAGE}\n`);
    return 0;
  }
  const effort = values.quick ? quick : full;
  if (positionals[0] === "combo") {
    if (positionals.length > 1) throw new Error("combo stands alone");
    return combo(values, effort);
  }
  if (values.exporter ?? values.importer ?? values.backend)
    throw new Error("--exporter, --importer and --backend belong to combo");
  const baseline = values.baseline === undefined ? undefined : readBaseline(values.baseline);
  const machine = machineFacts();
  process.stderr.write(`bench: ${formatFacts(machine)}\n`);
  const results = await runSuites(choose(positionals), effort);
  process.stdout.write(formatResults(results));
  if (values.json !== undefined) {
    const files = writeResults(values.json, results, machine);
    process.stderr.write(`bench: wrote ${files.join(", ")}\n`);
  }
  let slower = false;
  if (baseline !== undefined) {
    const changes = compare(baseline.rows, results.rows);
    process.stdout.write(`\nbaseline: ${formatFacts(baseline.machine)}\n${changeTable(changes)}\n`);
    slower = changes.some(({ kind }) => kind === "slower");
  }
  const threw = results.skipped.some(({ failed }) => failed === true);
  return slower || threw || hasFailed(judged(results, values.quick), values.quick) ? 1 : 0;
}

function choose(names: readonly string[]): readonly Suite[] {
  if (names.length === 0) return Object.values(suites);
  return names.map((name) => {
    const suite = suites[name];
    if (suite === undefined) throw new Error(`no suite ${name}`);
    return suite;
  });
}

/** What a verdict hangs on, with its target: in a quick run ratios alone, since an exponent of few sizes wobbles. */
function judged(
  { rows, growth, memory }: Results,
  quickly: boolean,
): { value: number; target: number }[] {
  const ratios = rows.map(({ ratio, target }) => ({ value: ratio, target }));
  if (quickly) return ratios;
  return [
    ...ratios,
    ...growth.map(({ exponent, target }) => ({ value: exponent, target })),
    ...memory.map(({ bytes, target }) => ({ value: bytes, target })),
  ];
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  process.stderr.write(
    `bench: ${error instanceof Error ? error.message : String(error)}\n${USAGE}\n`,
  );
  process.exitCode = 2;
}
