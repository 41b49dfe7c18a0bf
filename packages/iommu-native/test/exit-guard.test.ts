import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { transformSync } from "esbuild";
import { afterAll, describe, expect, it } from "vitest";

const folder = mkdtempSync(join(tmpdir(), "peerbar-exit-"));
const guard = join(folder, "exit-guard.mjs");
const source = readFileSync(join(import.meta.dirname, "../src/exit-guard.ts"), "utf8");
writeFileSync(guard, transformSync(source, { loader: "ts" }).code);
afterAll(() => {
  rmSync(folder, { recursive: true });
});

/** Runs a program in a process of its own. */
function run(body: string): { said: string; how: string } {
  const program = `import { beforeExit } from ${JSON.stringify(guard)};
    const cleanup = (what) => beforeExit(() => process.stdout.write(what + " "));
    ${body}`;
  const words = ["--input-type=module", "-e", program];
  const done = spawnSync(process.execPath, words, { encoding: "utf8" });
  return { said: done.stdout.trim(), how: String(done.signal ?? done.status) };
}

describe("the end of the process", () => {
  it.each([
    ["exit", "process.exit(4)", "4"],
    ["an uncaught error", 'throw new Error("on purpose")', "1"],
    ["SIGINT", 'process.kill(process.pid, "SIGINT"); setTimeout(() => {}, 5000)', "SIGINT"],
    ["SIGTERM", 'process.kill(process.pid, "SIGTERM"); setTimeout(() => {}, 5000)', "SIGTERM"],
  ])("%s: newest first, once, and the process ends as it would have", (_what, end, how) => {
    const done = run(`cleanup("first"); cleanup("second"); cleanup("third")(); ${end};`);
    expect(done).toEqual({ said: "second first", how });
  });

  it("a program with a handler of its own ends itself; what it leaves is done at exit", () => {
    const done = run(`cleanup("left"); const back = cleanup("own");
      process.on("SIGINT", () => { back(); process.stdout.write("graceful "); process.exit(5); });
      process.kill(process.pid, "SIGINT"); setTimeout(() => {}, 5000);`);
    expect(done).toEqual({ said: "graceful left", how: "5" });
  });

  it("one that fails does not keep the others from their turn", () => {
    const done = run(`cleanup("last"); beforeExit(() => { throw new Error("broken"); });`);
    expect(done).toEqual({ said: "last", how: "0" });
  });
});
