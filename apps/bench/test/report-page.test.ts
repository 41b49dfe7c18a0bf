import { afterEach, expect, test, vi } from "vitest";
import { Chromium, findChromium } from "../src/chromium.js";
import { openReport } from "../src/report-page.js";

const program = findChromium();
const skipped = program === undefined ? " (skipped: no chromium on PATH)" : "";

afterEach(() => {
  vi.unstubAllEnvs();
});

test.skipIf(skipped !== "")(
  `a page is opened, and its script's answer comes back${skipped}`,
  async () => {
    const chromium = new Chromium(program ?? "");
    try {
      const script = "(async () => { await 0; return 6 * 7; })()";
      for (let i = 0; i < 2; i++)
        expect(await chromium.open("data:text/html,<h1>page</h1>", script)).toBe(42);
    } finally {
      await chromium.close();
    }
  },
);

test("a browser that does not come up is an error, not a wait", async () => {
  const chromium = new Chromium("/nonexistent/chromium");
  await expect(chromium.open("data:text/html,x", "Promise.resolve(1)")).rejects.toThrow();
  await chromium.close();
});

test("without a browser, the dump or the tool the case is skipped, with how to get it", async () => {
  vi.stubEnv("PATH", "");
  const taken = await openReport(1);
  expect(taken).toHaveProperty("skipped");
  expect(JSON.stringify(taken)).toMatch(/apt-get install|beside the checkout|pnpm peerbar/);
});
