import { parseArgs } from "node:util";
import { namesOf } from "./baseline.js";
import { combo } from "./combo/combo.js";
import { Comparison } from "./comparison.js";
import { formatFacts, machineFacts } from "./facts.js";
import { full, quick } from "./measure.js";
import { formatResults, writeResults } from "./output.js";
import { type Results, runSuites } from "./run.js";
import type { Streams } from "./streams.js";
import { type Suite, suites } from "./suites.js";
import { hasFailed, limitsOf } from "./targets.js";
import { checkWritable } from "./writable.js";

const USAGE = `usage: bench [SUITE...] [--json FILE] [--quick] [--baseline FILE]
       bench combo [--exporter NAME|FILE|PACKAGE] [--importer NAME|FILE|PACKAGE] [--backend NAME|FILE|PACKAGE]
                   [--json FILE] [--quick] [--baseline FILE]
suites: ${Object.keys(suites).join(", ")}; all by default`;

/** 0 all targets hold, 1 one does not or something is worse than in the baseline, 2 usage or a baseline that is none or of other things. */
export async function program(args: readonly string[], streams: Streams): Promise<number> {
  try {
    return await main(args, streams);
  } catch (error) {
    streams.err(`bench: ${error instanceof Error ? error.message : String(error)}\n`);
    return 2;
  }
}

async function main(args: readonly string[], { out, err }: Streams): Promise<number> {
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
    out(`${USAGE}\n`);
    return 0;
  }
  const effort = values.quick ? quick : full;
  if (positionals[0] === "combo") {
    if (positionals.length > 1) throw new Error("combo stands alone");
    return combo(values, effort, { out, err });
  }
  if (values.exporter ?? values.importer ?? values.backend)
    throw new Error("--exporter, --importer and --backend belong to combo");
  const chosen = choose(positionals);
  const asked = chosen.flatMap(({ cases, growth, memory }) =>
    namesOf({ rows: cases, growth, memory }),
  );
  const comparison =
    values.baseline === undefined ? undefined : new Comparison(values.baseline, asked);
  if (values.json !== undefined) checkWritable(values.json);
  const machine = machineFacts();
  err(`bench: ${formatFacts(machine)}\n`);
  const results = await runSuites(chosen, effort, err);
  out(formatResults(results));
  if (values.json !== undefined) {
    const files = writeResults(values.json, results, machine);
    err(`bench: wrote ${files.join(", ")}\n`);
  }
  const compared = comparison?.judge(results, asked);
  if (compared !== undefined) out(`\n${compared.text}`);
  const worse = compared?.worse === true;
  const threw = results.skipped.some(({ failed }) => failed === true);
  return worse || threw || hasFailed(judged(results, values.quick), values.quick) ? 1 : 0;
}

function choose(names: readonly string[]): readonly Suite[] {
  if (names.length === 0) return Object.values(suites);
  return names.map((name) => {
    const suite = suites[name];
    if (suite === undefined)
      throw new Error(`no suite ${name}; there are ${Object.keys(suites).join(", ")}`);
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
    ...limitsOf(rows).map(({ seconds, target }) => ({ value: seconds, target })),
  ];
}
