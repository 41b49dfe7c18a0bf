import { buildModel } from "./build-model.js";
import { type Answers, runCase } from "./case.js";
import { type Difference, firstDifference } from "./compare.js";

/** Runs every case of one boot through the model, in the order of the boot: the map-type cache and the IOVA space live on between cases. */
export async function checkCases(
  answers: Answers,
  quirks?: "linux-7.2",
): Promise<{ differences: Difference[]; steps: number }> {
  const { world, topology } = buildModel(answers, quirks);
  const translated = Object.values(answers.domains).some((kind) => kind.startsWith("dma"));
  const setting = { topology, translated };
  const differences: Difference[] = [];
  let steps = 0;
  for (const subject of answers.cases) {
    const outcomes = await runCase(world, subject);
    steps += outcomes.length;
    const difference = firstDifference(subject, subject.outcomes, outcomes, setting);
    if (difference !== undefined) differences.push(difference);
  }
  return { differences, steps };
}
