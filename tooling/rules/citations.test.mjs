import { describe, expect, it } from "vitest";
import {
  citationsIn,
  citedRules,
  compactRules,
  definedRules,
  excusedRules,
  expandRules,
} from "./citations.mjs";

const specs = ["dma-buf", "vfio-pci-dmabuf"];
const ids = (found) => found.map(({ spec, id }) => `${spec} ${id}`);

describe("rule ids", () => {
  it("expand and compact", () => {
    expect(expandRules("R1-R3, V5 to V6, B9")).toEqual(["R1", "R2", "R3", "V5", "V6", "B9"]);
    expect(compactRules(["R3", "R1", "V1", "R2", "R10", "R1"])).toBe("R1-R3, R10, V1");
    expect(() => expandRules("R1-R999")).toThrow();
  });

  it("are what a specification's lines begin with", () => {
    const text = "- R1 one, see R9\n| V2 | x |\n**B3 three**\n| Rules | R4 |\nText R5";
    expect(definedRules(text)).toEqual(["R1", "V2", "B3"]);
  });
});

describe("citations", () => {
  it("are single, listed or ranges, and belong to the spec named in full", () => {
    expect(
      ids(citationsIn("(dma-buf R1, R3 and R5) vfio-pci-dmabuf V1-V3; dma-buf R7 to R8", specs)),
    ).toEqual([
      ...["R1", "R3", "R5"].map((id) => `dma-buf ${id}`),
      ...["V1", "V2", "V3"].map((id) => `vfio-pci-dmabuf ${id}`),
      ...["R7", "R8"].map((id) => `dma-buf ${id}`),
    ]);
    expect(citationsIn("dma-buf says R1; xdma-buf R2", specs)).toEqual([]);
  });

  it("count in titles and rules fields, not in comments and expectations", () => {
    const source = `
      // dma-buf R1
      describe("group (dma-buf R2)", () => {
        it('single "quoted" (dma-buf R3)', () => expect(rule).toBe("dma-buf R4"));
        it(
          \`template \${x} (dma-buf R5)\`, run);
        it.each([1, 2])("each %d (dma-buf R6)", run);
        ({ rules: "dma-buf R7, R8", rule: "dma-buf R9" });
      });`;
    expect(ids(citedRules(source, specs)).sort()).toEqual(
      ["R2", "R3", "R5", "R6", "R7", "R8"].map((id) => `dma-buf ${id}`),
    );
  });

  it("are excused by a line with a reason", () => {
    const text =
      "- dma-buf R53: a handle has no read to refuse\ndma-buf R54: short\ndma-buf R1, R2: kernel modules do not exist here";
    expect(ids(excusedRules(text, specs))).toEqual(["dma-buf R53", "dma-buf R1", "dma-buf R2"]);
  });
});
