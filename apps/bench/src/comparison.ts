import {
  type BaselineFile,
  compare,
  type Measurements,
  nameOf,
  namesOf,
  readBaseline,
} from "./baseline.js";
import { formatFacts } from "./facts.js";
import { changeTable } from "./table.js";

/** A baseline that a run is compared with at its end. */
export class Comparison {
  readonly #path: string;
  readonly #baseline: BaselineFile;

  /**
   * A run takes minutes: it is known before whether it can be compared.
   *
   * @param names - as of {@link namesOf}: what is going to be measured.
   * @throws Error with a line for the user where the file is no result, or has none of that.
   */
  constructor(path: string, names: readonly string[]) {
    this.#path = path;
    this.#baseline = readBaseline(path);
    const known = new Set(namesOf(this.#baseline));
    if (!names.some((name) => known.has(name)))
      throw new Error(
        `${path} has nothing of what is to be measured; it has ${some([...known]) || "no row"}`,
      );
  }

  /**
   * The table of changes, and what only one side has.
   *
   * @param asked - names of what the run was to measure.
   * @throws Error where nothing was left to compare: silence would look like a pass.
   */
  judge(
    now: Measurements,
    asked: readonly string[],
  ): { readonly text: string; readonly worse: boolean } {
    const changes = compare(this.#baseline, now);
    if (changes.length === 0) throw new Error(`nothing that ${this.#path} has was measured`);
    const compared = new Set(changes.map(({ what, id }) => nameOf(what, id)));
    const apart = (names: readonly string[]): string[] =>
      names.filter((name) => !compared.has(name));
    const fresh = apart(namesOf(now));
    const gone = apart(namesOf(this.#baseline)).filter((name) => asked.includes(name));
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
function some(names: readonly string[]): string {
  return names.length > 4 ? `${names.slice(0, 4).join(", ")} and others` : names.join(", ");
}
