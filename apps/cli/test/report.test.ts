import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parseCapture } from "@peerbar/p2pdma";
import { readTopology } from "@peerbar/p2pdma/node";
import { writeTemplate } from "@peerbar/report/build";
import { beforeAll, describe, expect, test } from "vitest";
import { bin, isBuilt, scratch, server, shell, shipped } from "./fixtures.js";
import { runCli } from "./run.js";

// Sources read the template where apps/report builds it.
beforeAll(async () => {
  await writeTemplate();
});

const content = (html: string, id: string): string =>
  new RegExp(`<script type="application/json" id="${id}">([\\s\\S]*?)</script>`).exec(html)?.[1] ??
  "";

describe("peerbar report", () => {
  test("writes one page that holds the whole machine", async () => {
    const output = join(scratch(), "report.html");
    const { code, out, err } = await runCli("report", "-F", shipped, "-o", output);
    expect({ code, err }).toEqual({ code: 0, err: "" });
    expect(out).toMatch(/report\.html: 56 functions, \d+ kB in one file/);
    const html = readFileSync(output, "utf8");
    expect(html).toMatch(/^<!doctype html>/);
    const machine = await readTopology(shipped);
    expect(parseCapture(content(html, "capture"), "page").functions).toEqual(machine.functions);
    expect(JSON.parse(content(html, "report"))).toEqual({
      schemaVersion: 1,
      cpu: "intel",
      cpuEvidence: "generated as such",
    });
  });

  test("to stdout without -o; --cpu and the first pair go into it, by address or name", async () => {
    const { code, out } = await runCli(
      ...[
        "report",
        "-F",
        shipped,
        "--cpu",
        "amd-zen",
        "--provider",
        "1b:00.0",
        "--client",
        "mlx5_0",
      ],
    );
    expect(code).toBe(0);
    expect(JSON.parse(content(out, "report"))).toEqual({
      schemaVersion: 1,
      cpu: "amd-zen",
      cpuEvidence: "--cpu",
      pair: { provider: "0000:1b:00.0", client: "0000:1d:00.0" },
    });
  });

  test("--json tells what was written", async () => {
    const output = join(scratch(), "report.html");
    const { out } = await runCli("report", "-F", shipped, "-o", output, "--json");
    expect(JSON.parse(out)).toEqual({
      schemaVersion: 1,
      source: { name: "gpu-server-2s", format: "generated", cpuEvidence: "generated as such" },
      output,
      bytes: readFileSync(output).length,
    });
  });

  test.each([
    [["--json"], "EINVAL: report: --json tells of a file"],
    [["--provider", "1b:00.0"], "EINVAL: report: a pair has a provider and a client"],
    [["--provider", "1b:00.0", "--client", "fe:00.0"], "ENODEV"],
    [["-o", "/nowhere/at/all.html"], "ENOENT: write: /nowhere/at/all.html cannot be written"],
    [["--cpu", "z80"], 'EINVAL: --cpu: no CPU kind "z80"'],
  ])("refuses %j in one line, exit 2", async (options, words) => {
    const { code, out, err } = await runCli("report", "-F", shipped, ...options);
    expect({ code, out }).toEqual({ code: 2, out: "" });
    expect(err).toMatch(/^peerbar: [^\n]+\n$/);
    expect(err).toContain(words);
  });

  test.skipIf(!isBuilt)(
    "the built tool has the page beside it (skipped where apps/cli is not built: `pnpm test` builds it)",
    () => {
      const html = shell(`node ${bin} report -F ${shipped}`);
      expect(content(html, "capture")).toContain("0000:1b:00.0");
    },
  );
});

describe("peerbar demo --report", () => {
  test("writes a page with every step and event, and a trace beside it", async () => {
    const output = join(scratch(), "run.html");
    const { code, out } = await runCli("demo", "--report", output);
    expect(code).toBe(0);
    expect(out).toContain(`report: ${output}`);
    const data = JSON.parse(content(readFileSync(output, "utf8"), "report")) as {
      readonly pair: unknown;
      readonly episode: {
        readonly ok: boolean;
        readonly trace: string;
        readonly steps: readonly { readonly first: number; readonly title: string }[];
        readonly events: readonly { readonly type: string }[];
      };
    };
    expect(data.pair).toEqual({ provider: "0000:1b:00.0", client: "0000:1d:00.0" });
    const { ok, trace, steps, events } = data.episode;
    expect({ ok, trace }).toEqual({ ok: true, trace: "run.trace.json" });
    const types = events.map((event) => event.type);
    const kinds = ["lock", "attach", "map", "tlp", "invalidate", "drained", "iommu-fault"];
    for (const type of kinds) expect(types).toContain(type);
    const firsts = steps.map((step) => step.first);
    expect(firsts).toEqual([...firsts].sort((a, b) => a - b));
    const exported = steps.find((step) => step.title.startsWith("vfio-pci exports"));
    expect(types[exported?.first ?? -1]).toBe("export");
    const file = JSON.parse(readFileSync(output.replace(".html", ".trace.json"), "utf8")) as {
      readonly traceEvents: readonly { readonly ph: string }[];
    };
    const begun = file.traceEvents.filter((event) => event.ph === "B").length;
    expect(begun).toBeGreaterThan(0);
    expect(file.traceEvents.filter((event) => event.ph === "E")).toHaveLength(begun);
  });

  test("where no pair can share, says that there is no page", async () => {
    const output = join(scratch(), "run.html");
    const apart = server({ acs: "on", hostBridges: "unlisted", cpu: "intel" });
    const { code, err } = await runCli("demo", "-F", apart, "--report", output);
    expect(code).toBe(1);
    expect(err).toContain("no --report is written");
    expect(existsSync(output)).toBe(false);
  });
});
