import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { env } from "node:process";
import { afterAll, describe, expect, test } from "vitest";
import { type Answer, ask } from "./uapi/compile.js";
import { type Fact, facts } from "./uapi/tables.js";
import { find } from "./uapi/trees.js";

const folder = mkdtempSync(join(tmpdir(), "peerbar-uapi-"));
const byHeader = group(facts());
/** What no header here knows, with the tree that lacks it. */
const unchecked = new Map<string, string>();

function group(all: readonly Fact[]): Map<string, Fact[]> {
  const groups = new Map<string, Fact[]>();
  for (const fact of all) groups.set(fact.header, [...(groups.get(fact.header) ?? []), fact]);
  return groups;
}

/** The struct or constant that a fact is about. */
const nameOf = (what: string): string => what.split(/[. ]/, 1)[0] ?? what;

/** Structs grow at their ends: an older header's is smaller, and lacks the fields. */
function grew(what: string, facts: readonly Fact[], answers: readonly Answer[]): boolean {
  const [, name] = /^(\w+) size$/.exec(what) ?? [];
  return facts.some((fact, index) => {
    const answer = answers[index];
    return name !== undefined && fact.what.startsWith(`${name}.`) && answer && "missing" in answer;
  });
}

afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
  const lines = [...unchecked].map(([name, why]) => `${name}: ${why}`);
  if (lines.length > 0)
    console.info(
      `not checked against C:\n  ${lines.join("\n  ")}\n  All of it is checked after: node packages/linux/scripts/fetch-headers.mjs, or with KERNEL_SRC=`,
    );
});

const compiler = spawnSync("gcc", ["--version"]).error === undefined;
if (!compiler) console.info("skipped: the uAPI tables against C; runs where gcc is installed");

describe.runIf(compiler)(
  "every number, size and offset is what C computes from the real header",
  () => {
    test.each([...byHeader])("%s", (header, facts) => {
      const found = find(header);
      if (found === undefined) {
        unchecked.set(header, "in no tree of this machine");
        expect(env.PEERBAR_REQUIRE_HEADERS, `${header} is required`).toBeUndefined();
        return;
      }
      const answers = ask(folder, header, found.files, facts);
      const wrong = facts.flatMap(({ what, ours }, index) => {
        const answer = answers[index];
        if (answer === undefined || "missing" in answer) {
          unchecked.set(nameOf(what), `not known to ${found.tree.name}`);
          return [];
        }
        if (answer.value === ours) return [];
        if (grew(what, facts, answers)) {
          return [];
        }
        return [`${what}: ours ${ours}, C ${answer.value}`];
      });
      expect(wrong).toEqual([]);
      const checked = answers.filter((answer) => "value" in answer).length;
      console.info(`${header}: ${checked} of ${facts.length} facts agree with ${found.tree.name}`);
      expect(checked).toBeGreaterThan(0);
      if (env.PEERBAR_REQUIRE_HEADERS) expect(checked).toBe(facts.length);
    });

    test("a wrong table is found", () => {
      const header = "linux/udmabuf.h";
      const found = find(header);
      if (found === undefined) {
        console.info(`skipped: no ${header} on this machine`);
        return;
      }
      const [size] = ask(folder, header, found.files, [
        { header, what: "size", c: "sizeof(struct udmabuf_create)", ours: 20n },
      ]);
      expect(size).toEqual({ value: 24n });
      const [absent] = ask(folder, header, found.files, [
        { header, what: "absent", c: "sizeof(struct udmabuf_absent)", ours: 0n },
      ]);
      expect(JSON.stringify(absent)).toContain("udmabuf_absent");
    });
  },
);
