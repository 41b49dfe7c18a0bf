import type { Entry } from "./entry.js";

const HEAD = `# Gallery of defects

Defects that the kernel's peer-to-peer stack had, has, or nearly had, each as the smallest exporter, importer, backend or decision with just
that defect, and the check that catches it. This page is written by the runs (\`pnpm gallery\`), and a test fails where it differs from what
ran. \`pnpm gallery\` also prints how long each check took.

Every check runs twice: on the code with the defect, where it must name what is listed, and on the right code, where it must say nothing.

| check | is |
|---|---|
| conformance | the whole suite of \`@peerbar/conformance\` for that role; the case that must fail is named |
| sanitizer | the same suite under the sanitizer; the report that must come is named |
| explorer | one exporter, one importer and a reset or a close, in every order, under the sanitizer; nothing in the scenario knows of the defect. The right code passes every order |
| differential | a small decision of its own, right or wrong, against \`P2pdma\` on generated servers |
| scenario | a run made for this defect alone |

Where no case asked for what a defect breaks, the case was added to the suites, which everybody runs: vfio-pci, iommufd, rdma and iommu-mock
pass them too. The one explorer run that was written for its defect is that of B31: two tasks that take the two locks. Most mutants change
the reference exporter, importer and backend of \`@peerbar/conformance\`, which are small enough to be wrong in one thing alone; B7 to B11,
B13, B14, B49 and D7 change vfio-pci, or switch on its \`linux-7.2\` quirks, and B59 those of iommu-mock. B19, D1, B20 and D2 are one defect
of the draft told twice.

`;

/** The page. Times are left out: they differ from run to run. */
export function formatDocument(entries: readonly Entry[]): string {
  const lines = [
    row(["", "defect", "rule", "caught by", "names"]),
    row(["---", "---", "---", "---", "---"]),
  ];
  for (const { id, title, rule, trials, absent } of entries) {
    const checks = trials.map(({ check }) => check).join("<br>");
    const names = trials.map(({ names }) => `\`${names}\``).join("<br>");
    lines.push(row([id, title, rule, absent === undefined ? checks : "cannot exist here", names]));
  }
  const stories = entries.map(story).join("\n");
  return `${HEAD}${lines.join("\n")}\n\n${counts(entries)}\n\n## The defects\n\n${stories}`;
}

function counts(entries: readonly Entry[]): string {
  const only = entries.filter(({ trials }) => trials.every(({ check }) => check === "scenario"));
  const absent = entries.filter((one) => one.absent !== undefined);
  return (
    `${String(entries.length)} defects. ` +
    `${String(entries.length - only.length)} are caught by a check that was not made for them. ` +
    `${String(absent.length)} cannot exist here.`
  );
}

function story(entry: Entry): string {
  const link = entry.link === undefined ? "" : ` (<${entry.link}>)`;
  const bounds = new Set(entry.trials.flatMap(({ bound }) => (bound === undefined ? [] : [bound])));
  const tried = bounds.size === 0 ? "" : `- Right code tried on: ${[...bounds].join("; ")}.\n`;
  return (
    `### ${entry.id}: ${entry.title}\n\n- Trigger: ${entry.trigger}.\n- Wrong: ${entry.wrong}.\n- Right: ${entry.right}.\n` +
    `- Rule: ${entry.rule}. Known: ${entry.evidence}${link}.\n${tried}` +
    (entry.absent === undefined ? "" : `- Cannot exist here: ${entry.absent}.\n`)
  );
}

function row(cells: readonly string[]): string {
  return `| ${cells.join(" | ")} |`;
}
