import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { main } from "./readme-example.js";

const readme = readFileSync(new URL("../README.md", import.meta.url), "utf8");
const example = readFileSync(new URL("readme-example.ts", import.meta.url), "utf8");

describe("README", () => {
  it("shows the example that runs here, and what it prints", async () => {
    expect(readme).toContain(example.trim());
    const capture = fileURLToPath(new URL("../captures/gpu-server-2s.json", import.meta.url));
    expect(readme).toContain((await main(capture)).join("\n"));
  });
});
