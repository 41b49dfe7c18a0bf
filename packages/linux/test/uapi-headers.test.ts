import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { env } from "node:process";
import { afterAll, describe, expect, test } from "vitest";
import { ask } from "./uapi/compile.js";
import { type Fact, facts } from "./uapi/tables.js";
import { find } from "./uapi/trees.js";

const folder = mkdtempSync(join(tmpdir(), "peerbar-uapi-"));
const byHeader = group(facts());
const unchecked: string[] = [];

function group(all: readonly Fact[]): Map<string, Fact[]> {
  const groups = new Map<string, Fact[]>();
  for (const fact of all) groups.set(fact.header, [...(groups.get(fact.header) ?? []), fact]);
  return groups;
}

afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
  if (unchecked.length > 0)
    console.info(
      `not checked against C:\n  ${unchecked.join("\n  ")}\n  All of it is checked after: node packages/linux/scripts/fetch-headers.mjs, or with KERNEL_SRC=`,
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
        unchecked.push(`${header}: in no tree of this machine`);
        expect(env.PEERBAR_REQUIRE_HEADERS, `${header} is required`).toBeUndefined();
        return;
      }
      const answers = ask(folder, header, found.files, facts);
      const wrong = facts.flatMap(({ what, ours }, index) => {
        const answer = answers[index];
        if (answer === undefined || "missing" in answer) {
          unchecked.push(`${what}: ${answer?.missing ?? ""} (${found.tree.name})`);
          return [];
        }
        return answer.value === ours ? [] : [`${what}: ours ${ours}, C ${answer.value}`];
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
