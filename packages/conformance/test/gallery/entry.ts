/** Who catches a defect. All but `scenario` are run by anybody who writes an exporter, importer or backend, on code of any kind. */
export type Check =
  | "conformance"
  | "sanitizer"
  | "explorer"
  | "differential"
  | "property"
  /** A run made for this defect. */
  | "scenario";

/** One check, run on the code with the defect and on the right code. */
export interface Trial {
  readonly check: Check;
  /** Which case, defect class, explorer failure or comparison must name it. One of the mutant's findings contains this text. */
  readonly names: string;
  /** What the check says of the code with the defect. */
  mutant(): Promise<readonly string[]>;
  /** What it says of the right code: nothing. */
  right(): Promise<readonly string[]>;
  /** How far the right code was tried, where that is not "every case of the suite". */
  readonly bound?: string;
}

export interface Entry {
  /** `B1` to `B61` and `D1` to `D10`, as in the project's list of known defects. */
  readonly id: string;
  readonly title: string;
  readonly trigger: string;
  readonly wrong: string;
  readonly right: string;
  /** Rules of the specification that it breaks. */
  readonly rule: string;
  /** Commit, CVE, thread, or how it is known where nothing is public. */
  readonly evidence: string;
  readonly link?: string;
  /** None where it cannot exist here; `absent` then says why. */
  readonly trials: readonly Trial[];
  readonly absent?: string;
}

/** What an entry tells, without its checks. */
export type Story = Omit<Entry, "trials" | "absent">;

/** An entry with its checks. */
export function entry(story: Story, ...trials: readonly Trial[]): Entry {
  return { ...story, trials };
}
