import { describe, expect, it } from "vitest";
import { nothingLeft, runInLab } from "./lab.js";

interface Report {
  readonly ok: boolean;
  readonly summary: string;
  readonly steps: readonly {
    readonly title: string;
    readonly facts: Record<string, unknown>;
    readonly checks: readonly { readonly what: string; readonly ok: boolean }[];
  }[];
}

describe("demo --backend native, in the lab", () => {
  it("decides, exports, imports, moves bytes, resets, sees the fault, recovers; nothing is left", async () => {
    const { code, out, err } = await runInLab("demo", "--backend", "native", "--json");
    expect(err).toBe("");
    const report = JSON.parse(out) as Report;
    expect(report.summary).toMatch(/^all \d+ checks in \d+ steps passed$/);
    expect(report.ok).toBe(true);
    expect(code).toBe(0);
    const facts = Object.assign({}, ...report.steps.map((step) => step.facts)) as Record<
      string,
      unknown
    >;
    expect(facts.iova).toMatch(/^0x[0-9a-f]+$/);
    expect(facts.fault).toContain("DMA Write");
    nothingLeft();
  });

  it("a client without an engine that can be driven: exit 3 and the next step", async () => {
    const { code, err } = await runInLab("demo", "--backend", "native", "--client", "01:00.0");
    expect(err).toMatch(/^peerbar: ENODEV: demo: .*; QEMU's edu has one/);
    expect(code).toBe(3);
    nothingLeft();
  });
});
