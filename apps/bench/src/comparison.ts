import { type BaselineFile, compare, idsOf, type Measurements, readBaseline } from "./baseline.js";
import { formatFacts } from "./facts.js";
import { changeTable } from "./table.js";

/** A baseline that a run is compared with at its end. */
export class Comparison {
  readonly #path: string;
  readonly #baseline: BaselineFile;

  /**
   * A run takes minutes: it is known before whether it can be compared.
   *
   * @param ids - what is going to be measured.
   * @throws Error with a line for the user where the file is no result, or has none of that.
   */
  constructor(path: string, ids: readonly string[]) {
    this.#path = path;
    this.#baseline = readBaseline(path);
    const known = new Set(idsOf(this.#baseline));
    if (!ids.some((id) => known.has(id)))
      throw new Error(
        `${path} has nothing of what is to be measured; it has ${some([...known]) || "no row"}`,
      );
  }

  /**
   * The table of changes, and what only one side has.
   *
   * @param asked - ids of what the run was to measure.
   * @throws Error where nothing was left to compare: silence would look like a pass.
   */
  judge(
    now: Measurements,
    asked: readonly string[],
  ): { readonly text: string; readonly worse: boolean } {
    const changes = compare(this.#baseline, now);
    if (changes.length === 0) throw new Error(`nothing that ${this.#path} has was measured`);
    const compared = new Set(changes.map(({ id }) => id));
    const apart = (ids: readonly string[]): string[] => ids.filter((id) => !compared.has(id));
    const fresh = apart(idsOf(now));
    const gone = apart(idsOf(this.#baseline)).filter((id) => asked.includes(id));
    const lines = [
      `baseline: ${formatFacts(this.#baseline.machine)}`,
      changeTable(changes),
      ...(fresh.length > 0 ? [`not in the baseline: ${fresh.join(", ")}`] : []),
      ...(gone.length > 0 ? [`in the baseline, and not measured now: ${gone.join(", ")}`] : []),
    ];
    return { text: `${lines.join("\n")}\n`, worse: changes.some(({ kind }) => kind === "worse") };
  }
}

/** The first few. */
function some(ids: readonly string[]): string {
  return ids.length > 4 ? `${ids.slice(0, 4).join(", ")} and others` : ids.join(", ");
}
