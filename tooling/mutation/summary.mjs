const caught = new Set(["Killed", "Timeout"]);
const missed = new Set(["Survived", "NoCoverage"]);

/** The mutation score of a report, in percent, and one line about it. */
export function summarize(room, report) {
  const mutants = Object.values(report.files).flatMap((file) => file.mutants);
  const count = (set) => mutants.filter(({ status }) => set.has(status)).length;
  const [killed, alive] = [count(caught), count(missed)];
  const score = killed + alive === 0 ? 100 : (100 * killed) / (killed + alive);
  const line = `${room}: ${score.toFixed(1)} % of ${killed + alive} mutants caught, ${alive} left`;
  return { score, killed, alive, line };
}

/** Mutants that no test noticed, as `file:line:column mutator: replacement`. */
export function survivorsOf(report) {
  return Object.entries(report.files).flatMap(([path, { mutants }]) =>
    mutants
      .filter(({ status }) => missed.has(status))
      .map(({ location: { start }, mutatorName, replacement, status }) => {
        const text = (replacement ?? "").replaceAll(/\s+/g, " ").slice(0, 100);
        const where = `${path}:${start.line}:${start.column}`;
        return `${where} ${mutatorName}${status === "NoCoverage" ? " (no test runs it)" : ""}: ${text}`;
      }),
  );
}
