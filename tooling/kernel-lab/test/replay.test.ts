import { readdirSync, readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import type { Answers } from "../differential/case.js";
import { checkCases } from "../differential/check-cases.js";

const folder = new URL("../answers/", import.meta.url);
const files = readdirSync(folder).filter((name) => name.endsWith(".json.gz"));
const read = (file: string): Answers =>
  JSON.parse(gunzipSync(readFileSync(new URL(file, folder))).toString("utf8")) as Answers;

/** What a real kernel answered, kept: the model must still do the same. `pnpm lab differential --save` makes such files. */
describe("recorded answers of Linux", () => {
  test("every machine of the lab has answered, more than a thousand cases in all", () => {
    expect(files.length).toBeGreaterThanOrEqual(18);
    const cases = files.reduce((sum, file) => sum + read(file).cases.length, 0);
    expect(cases).toBeGreaterThanOrEqual(1300);
  });

  test.each(files)("%s: with the kernel's defects the model agrees in every step", async (file) => {
    const answers = read(file);
    const { differences, steps } = await checkCases(answers, "linux-7.2");
    console.log(
      `${answers.machine}, Linux ${answers.kernel}: ${String(answers.cases.length)} cases, ${String(steps)} steps, seeds from ${String(answers.seed)}`,
    );
    expect(differences).toEqual([]);
  });

  test("a right model differs from Linux 7.2 in nothing but the listed defects", async () => {
    const kinds = new Set<string>();
    for (const file of files) {
      for (const { kernel, model, case: subject, step } of (await checkCases(read(file)))
        .differences) {
        const left = (kernel as { errno?: number }).errno;
        const right = (model as { errno?: number }).errno;
        const engaged = subject.steps
          .slice(0, step + 1)
          .some((one) => one.do === "low-power" && one.enter);
        kinds.add(
          left === -98 && right === 0
            ? "B9"
            : engaged
              ? "B14"
              : JSON.stringify({ seed: subject.seed, step, kernel, model }),
        );
      }
    }
    expect([...kinds].sort()).toEqual(["B14", "B9"]);
  });

  test("an answer that is wrong is noticed", async () => {
    const [file = ""] = files;
    const answers = read(file);
    const at = answers.cases.findIndex(({ outcomes }) =>
      outcomes.some(({ entries }) => entries?.length),
    );
    const subject = answers.cases[at];
    if (subject === undefined) throw new Error("no case has entries");
    const outcomes = subject.outcomes.map((outcome) => ({
      ...outcome,
      ...(outcome.entries && {
        entries: outcome.entries.map(([address, length]) => [address, length + 0x1000] as const),
      }),
    }));
    const cases = answers.cases.with(at, { ...subject, outcomes });
    const { differences } = await checkCases({ ...answers, cases }, "linux-7.2");
    expect(differences.map(({ case: found }) => found.seed)).toEqual([subject.seed]);
  });
});
