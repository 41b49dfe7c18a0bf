import { errnos } from "@peerbar/core";
import { describe, expect, it } from "vitest";
import { backendNames } from "../src/backends.js";
import { allCombinations, type Combination, runCombination } from "../src/combination.js";
import { formatDocument, type Run } from "../src/document.js";

const DOCUMENT = "../../../docs/combinations.md";

function title({ exporter, importer, backend, route }: Combination): string {
  return [exporter, importer, backend, route ?? "host memory"].join(" / ");
}

describe("every exporter x importer x backend that exists", () => {
  const runs: Run[] = [];
  const all = allCombinations();

  it.each(all.map((combination) => [title(combination), combination] as const))(
    "%s",
    async (_title, combination) => {
      const outcome = await runCombination(combination);
      runs.push({ combination, outcome });
      if (outcome.kind === "refused") {
        expect(Object.keys(errnos)).toContain(outcome.errno);
        expect(outcome.reason).not.toBe("");
      }
    },
  );

  it("docs/combinations.md is what ran (write it with `npx vitest run -u`)", async () => {
    expect(runs).toHaveLength(all.length);
    await expect(formatDocument(runs)).toMatchFileSnapshot(DOCUMENT);
  });

  it("each exporter, importer and backend works in some combination, but for the importer that cannot be revoked", () => {
    const works = runs.filter(({ outcome }) => outcome.kind === "works");
    const names = (of: (combination: Combination) => string, list: readonly Run[]): string[] => [
      ...new Set(list.map(({ combination }) => of(combination))),
    ];
    expect(names(({ exporter }) => exporter, works)).toEqual(names((c) => c.exporter, runs));
    expect(names(({ importer }) => importer, works)).toEqual(
      names((c) => c.importer, runs).filter((name) => name !== "rdma, pinned"),
    );
    expect(new Set(names(({ backend }) => backend, works))).toEqual(new Set(backendNames));
  });
});
