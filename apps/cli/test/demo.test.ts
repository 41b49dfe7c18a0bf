import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { topologies } from "@peerbar/vitest-config/topologies";
import { describe, expect, test } from "vitest";
import { runCli } from "./run.js";

interface Report {
  readonly ok: boolean;
  readonly provider: string;
  readonly client: string;
  readonly summary: string;
  readonly steps: readonly {
    readonly title: string;
    readonly facts: Record<string, unknown>;
    readonly checks: readonly { readonly what: string; readonly ok: boolean }[];
  }[];
}

async function demoJson(...argv: string[]): Promise<Report> {
  const { out } = await runCli("demo", "--json", ...argv);
  return JSON.parse(out) as Report;
}

describe("demo on the shipped capture", () => {
  test("tells the whole story, every check passes, exit 0", async () => {
    const { code, out, err } = await runCli("demo");
    expect(err).toBe("");
    expect(code).toBe(0);
    expect(out).toMatch(/done: all \d+ checks in \d+ steps passed\n$/);
    expect(out).not.toContain("FAIL");
    for (const word of ["exports BAR", 'agree on "phys"', "attach kind", "is reset", "ENODEV"]) {
      expect(out).toContain(word);
    }
  });

  test("the same command tells the same story", async () => {
    expect((await runCli("demo")).out).toBe((await runCli("demo")).out);
  });

  test("--json holds the verdict, the addresses in each space and the order of the revoke", async () => {
    const report = await demoJson();
    expect(report.ok).toBe(true);
    expect(report.provider).toMatch(/^[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$/);
    const facts = Object.assign({}, ...report.steps.map((step) => step.facts)) as Record<
      string,
      unknown
    >;
    expect(facts.physAddr).toMatch(/^0x[0-9a-f]+$/);
    expect(facts.busAddr).toMatch(/^0x[0-9a-f]+$/);
    expect(facts.iova).toMatch(/^0x[0-9a-f]+$/);
    expect(facts.events).toEqual([
      "revoke",
      "invalidate",
      "unmap",
      "drained",
      "invalidate",
      "restore",
    ]);
    expect(report.steps.flatMap((step) => step.checks).every((check) => check.ok)).toBe(true);
  });

  test("a pair the kernel refuses is shown as refused, with its reason, and another is taken", async () => {
    const { out: text } = await runCli("matrix", "--json", "-F", shipped());
    const { pairs } = JSON.parse(text) as {
      pairs: { provider: string; client: string; mapType: string; reason: string }[];
    };
    const usual = await demoJson();
    const refused = pairs.find(
      (pair) => pair.provider === usual.provider && pair.mapType === "not-supported",
    );
    expect(refused).toBeDefined();
    const { out, code } = await runCli(
      "demo",
      "--provider",
      refused?.provider ?? "",
      "--client",
      refused?.client ?? "",
    );
    expect(code).toBe(0);
    expect(out).toContain(`can ${refused?.client ?? "?"} reach ${refused?.provider ?? "?"}?`);
    expect(out).toContain(`not-supported: ${refused?.reason ?? "?"}`);
    expect(out).toMatch(/done: all/);
  });

  test("a pair through the host bridge is mapped at an IOVA (dma-iova R1)", async () => {
    const { out: text } = await runCli("matrix", "--json", "-F", shipped(), "--cpu", "amd-zen");
    const { pairs } = JSON.parse(text) as {
      pairs: { provider: string; client: string; mapType: string }[];
    };
    const usual = await demoJson();
    const far = pairs.find(
      (pair) => pair.provider === usual.provider && pair.mapType === "thru-host-bridge",
    );
    const report = await demoJson(
      "--cpu",
      "amd-zen",
      "--provider",
      far?.provider ?? "",
      "--client",
      far?.client ?? "",
    );
    expect(report.ok).toBe(true);
    const kinds = report.steps.map((step) => step.facts.attachKind).filter(Boolean);
    expect(kinds).toEqual(["host-bridge-iova"]);
  });
});

describe("demo with wrong input: one line, errno, next step, exit code", () => {
  const file = (name: string, content: string | Uint8Array): string => {
    const path = join(mkdtempSync(join(tmpdir(), "peerbar-")), name);
    writeFileSync(path, content);
    return path;
  };
  const cases: readonly (readonly [string, () => string[], number, string])[] = [
    ["missing file", () => ["-F", "/nonexistent/lspci.txt"], 2, "ENOENT"],
    ["empty file", () => ["-F", file("empty", "")], 2, "EINVAL"],
    [
      "binary file",
      () => ["-F", file("binary", new Uint8Array([0, 1, 2, 255, 0, 9]))],
      2,
      "EINVAL",
    ],
    ["text without a device", () => ["-F", file("text", "hello\nworld\n")], 2, "EINVAL"],
    [
      "truncated gzip",
      () => ["-F", file("x.tar.gz", new Uint8Array([0x1f, 0x8b, 8, 0, 0, 0]))],
      2,
      "EINVAL",
    ],
    ["unknown provider", () => ["--provider", "99:00.0"], 2, "ENODEV"],
    ["provider without a memory BAR", () => ["--provider", "00:00.0"], 2, "ENODEV"],
    ["BAR number that is none", () => ["--bar", "6"], 2, "ENODEV"],
    ["range past the end of the BAR", () => ["--range", "0+1T"], 2, "EINVAL"],
    ["range that wraps", () => ["--range", "0xfffffffffffff000+0x2000"], 2, "EOVERFLOW"],
    ["range that is no range", () => ["--range", "4096"], 2, "EINVAL"],
    ["range inside a page", () => ["--range", "0x10+0x1000"], 2, "EINVAL"],
    ["CPU kind that is none", () => ["--cpu", "z80"], 2, "EINVAL"],
    [
      "sizes that the capture does not show",
      () => [
        "-F",
        file(
          "hex",
          `00:02.0 VGA compatible controller: x\n00: 86 80 00 19 06 00 90 20 02 00 00 03 00 00 00 00\n10: 00 00 00 f0 00 00 00 00 00 00 00 00 00 00 00 00\n20: 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00\n30: 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00\n`,
        ),
      ],
      3,
      "ENODATA",
    ],
  ];
  test.each(cases)("%s", async (_name, argv, code, errno) => {
    const outcome = await runCli("demo", ...argv());
    expect(outcome.err).toMatch(/^peerbar: [^\n]+\n$/);
    expect(outcome.err).toContain(`peerbar: ${errno}: `);
    expect(outcome.err).toContain("; ");
    expect(outcome.code).toBe(code);
  });
});

describe("demo on real machines", () => {
  const folder = topologies;
  const captures = existsSync(folder)
    ? readdirSync(folder).filter((name) => /\.(txt|tar\.gz)$/.test(name))
    : [];
  if (captures.length === 0) {
    test.skip("skipped: set PEERBAR_TOPOLOGIES to a folder of captures", () => undefined);
  } else {
    test("at least ten of them work with nothing but the file named", async () => {
      const worked: string[] = [];
      for (const name of captures) {
        const { code, out } = await runCli("demo", "-F", join(folder, name));
        if (code === 0 && /done: all \d+ checks/.test(out)) worked.push(name);
      }
      expect(worked.length).toBeGreaterThanOrEqual(10);
    });

    test("every machine whose BAR sizes are shown works with a Zen CPU", async () => {
      for (const name of captures) {
        const { code, out, err } = await runCli(
          "demo",
          "-F",
          join(folder, name),
          "--cpu",
          "amd-zen",
        );
        expect(`${name} ${code === 0 ? "ok" : err}`).toMatch(/ ok$|ENODATA|no memory BAR/);
        if (code === 0) expect(out).toMatch(/done: all \d+ checks/);
      }
    });
  }
});

describe("the built tool", () => {
  const bin = fileURLToPath(new URL("../bin/peerbar.js", import.meta.url));
  test.skipIf(!existsSync(new URL("../dist/main.js", import.meta.url)))(
    "bin/peerbar.js demo exits 0 (skipped where apps/cli is not built: `pnpm test` builds it)",
    () => {
      const out = execFileSync(process.execPath, [bin, "demo"], { encoding: "utf8" });
      expect(out).toMatch(/done: all \d+ checks/);
    },
  );
});

function shipped(): string {
  return fileURLToPath(
    new URL("../../../packages/p2pdma/captures/gpu-server-2s.json", import.meta.url),
  );
}
