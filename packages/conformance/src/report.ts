import type { CaseStatus, ConformanceReport } from "./case.js";

const marks: Readonly<Record<CaseStatus, string>> = {
  passed: "ok  ",
  failed: "FAIL",
  skipped: "skip",
  "known-gap": "gap ",
};

/**
 * A report for people: one line a case with the rules it proves, the reason below what did not pass, and a count at the end.
 * Its JSON form is the report itself.
 */
export function formatReport(report: ConformanceReport): string {
  const width = Math.max(0, ...report.cases.map((one) => one.id.length));
  const lines = [`${report.role} conformance: ${report.subject}`];
  for (const one of report.cases) {
    lines.push(`  ${marks[one.status]} ${one.id.padEnd(width)}  ${one.title} (${one.rules})`);
    if (one.detail !== "") lines.push(`       ${one.detail}`);
  }
  lines.push(
    `${String(report.passed)} passed, ${String(report.failed)} failed, ` +
      `${String(report.skipped)} skipped, ${String(report.knownGaps)} known gaps`,
  );
  return `${lines.join("\n")}\n`;
}
