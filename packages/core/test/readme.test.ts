import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { createContext, runInContext } from "node:vm";
import { build } from "esbuild";
import { describe, expect, it } from "vitest";

describe("the README's example", () => {
  it("runs and prints what it says", async () => {
    const readme = await readFile(new URL("../README.md", import.meta.url), "utf8");
    const code = /```ts\n([\s\S]*?)```/.exec(readme)?.[1] ?? "";
    const imports = /^import .*$/m.exec(code)?.[0] ?? "";
    expect(imports).toContain("@peerbar/core");
    const contents = `${imports}\nglobalThis.done = (async () => {${code.replace(imports, "")}})();`;
    const { outputFiles } = await build({
      stdin: { contents, resolveDir: fileURLToPath(new URL(".", import.meta.url)), loader: "ts" },
      alias: { "@peerbar/core": fileURLToPath(new URL("../src/index.ts", import.meta.url)) },
      bundle: true,
      platform: "browser",
      format: "iife",
      write: false,
      logLevel: "silent",
    });
    const printed: string[] = [];
    const log = (...words: unknown[]): void => {
      printed.push(words.map(String).join(" "));
    };
    const context = createContext({ console: { log } });
    runInContext(outputFiles[0]?.text ?? "", context);
    await (runInContext("done", context) as Promise<void>);
    await Promise.resolve();
    expect(printed[0]).toBe("80000000 65536");
    expect(printed[1]).toBe("let go");
    expect(printed[2]).toContain("attached 0000:19:00.0.1 dynamic p2p mappings 0");
    expect(printed.at(-1)).toBe("released");
  });
});
