import { describe, expect, it } from "vitest";
import { MAX_SEGMENT_PAGES, ScatterTable } from "../src/index.js";

/** Millions of entries: left out of mutation runs (tooling/mutation/vitest.config.mjs). */
describe("a scatter table of 8 million entries", () => {
  it("is split from one span beyond 2^53 bytes, exact to the last byte", () => {
    const pages = 2 ** 43 + 1;
    const count = Math.ceil(pages / MAX_SEGMENT_PAGES);
    expect(count).toBe(8_388_617);
    const table = ScatterTable.fromSpans("iova", [{ pfn: 2 ** 51, pages }]);
    expect([table.entries, table.size]).toEqual([count, (1n << 55n) + 4096n]);
    const last = (1n << 55n) + 4095n;
    expect(table.locate(last)).toEqual({ address: (1n << 63n) + last, length: 1 });
    const odd = (1n << 54n) + 4097n;
    expect(table.locate(odd).address).toBe((1n << 63n) + odd);
  });
});
