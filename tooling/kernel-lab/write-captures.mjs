/**
 * Writes the captures that `@peerbar/p2pdma` ships from answer files of the differential test (`pnpm lab differential --save FOLDER`):
 * `lab-NAME.json` is what `peerbar capture` gave inside the machine, `lab-NAME.distances.json` what that kernel's
 * pci_p2pdma_distance said for each ordered pair, -1 for pairs it does not support.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { root } from "./src/paths.mjs";

const files = process.argv.slice(2);
if (files.length === 0) {
  console.error("usage: node tooling/kernel-lab/write-captures.mjs ANSWERS.json...");
  process.exit(2);
}
for (const file of files) {
  const answers = JSON.parse(readFileSync(resolve(file), "utf8"));
  const { functions } = JSON.parse(answers.capture);
  const addresses = functions.map(({ address }) => address);
  const rows = addresses.map((provider) =>
    addresses.map((client) => answers.distances[`${provider} ${client}`]),
  );
  const lines = [
    "{",
    `  "schemaVersion": 1,`,
    `  "machine": ${JSON.stringify(answers.machine)},`,
    `  "kernel": ${JSON.stringify(answers.kernel)},`,
    `  "functions": ${JSON.stringify(addresses)},`,
    `  "distances": [`,
    rows.map((row) => `    ${JSON.stringify(row)}`).join(",\n"),
    "  ]",
    "}",
    "",
  ];
  const name = join(root, "packages/p2pdma/captures", `lab-${answers.machine}`);
  writeFileSync(`${name}.json`, answers.capture);
  writeFileSync(`${name}.distances.json`, lines.join("\n"));
  console.log(`${name}.json: ${addresses.length} functions, Linux ${answers.kernel}`);
}
