/** Outside the machine: runs the cases of answer files through the model, and prints where the two part. `--quirks` models Linux 7.2's defects. */
import { readFileSync } from "node:fs";
import { matrix, P2pdma } from "@peerbar/p2pdma";
import { buildModel } from "./build-model.js";
import type { Answers } from "./case.js";
import { checkCases } from "./check-cases.js";

const words = process.argv.slice(2);
const quirks = words.includes("--ideal") ? undefined : "linux-7.2";
let wrong = 0;
for (const file of words.filter((word) => !word.startsWith("--"))) {
  const answers = JSON.parse(readFileSync(file, "utf8")) as Answers;
  const { topology } = buildModel(answers, quirks);
  wrong += checkDistances(answers, topology);
  const { differences, steps } = await checkCases(answers, quirks);
  for (const difference of differences.slice(0, 10)) {
    const { case: subject, step, kernel, model } = difference;
    console.log(
      `${answers.machine} seed ${String(subject.seed)} (${subject.provider}), step ${String(step)}:`,
    );
    for (const [index, one] of subject.steps.slice(0, step + 1).entries())
      console.log(`  ${String(index)} ${JSON.stringify(one)}`);
    console.log(`  kernel ${JSON.stringify(kernel)}\n  model  ${JSON.stringify(model)}`);
  }
  wrong += differences.length;
  const same = `${String(answers.cases.length - differences.length)} of ${String(answers.cases.length)} cases agree`;
  console.log(
    `${answers.machine} (Linux ${answers.kernel}, seeds from ${String(answers.seed)}): ${same}, ${String(steps)} steps`,
  );
}
process.exitCode = wrong === 0 ? 0 : 1;

function checkDistances(
  answers: Answers,
  topology: ReturnType<typeof buildModel>["topology"],
): number {
  const pairs = matrix(new P2pdma(topology), [...topology.functions.keys()]);
  const names = topology.functions.map((info) => info.address);
  let bad = 0;
  for (const [row, provider] of names.entries()) {
    for (const [column, client] of names.entries()) {
      const ours =
        pairs.mapTypeAt(row, column) === "not-supported" ? -1 : pairs.distanceAt(row, column);
      const kernel = answers.distances[`${provider} ${client}`];
      if (kernel === ours) continue;
      bad += 1;
      console.log(
        `${answers.machine}: ${provider} to ${client}: kernel ${String(kernel)}, we ${String(ours)}`,
      );
    }
  }
  console.log(
    `${answers.machine}: ${String(names.length ** 2 - bad)} of ${String(names.length ** 2)} distances agree`,
  );
  return bad;
}
