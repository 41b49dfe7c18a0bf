import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { generateServer, toCapture } from "@peerbar/p2pdma";
import { DaemonSet } from "kubernetes-models/apps/v1";
import { Job } from "kubernetes-models/batch/v1";
import { PersistentVolumeClaim } from "kubernetes-models/v1";
import { describe, expect, it } from "vitest";
import { parseAllDocuments } from "yaml";
import { file, scratch } from "./fixtures.js";

const deploy = fileURLToPath(new URL("../../../deploy/", import.meta.url));
const bin = fileURLToPath(new URL("../bin/peerbar.js", import.meta.url));

interface Container {
  readonly command: readonly string[];
  readonly args: readonly string[];
  readonly volumeMounts: readonly { name: string; mountPath: string }[];
}
interface Manifest {
  readonly kind: string;
  readonly metadata: { readonly name: string };
  readonly spec: {
    readonly template?: {
      readonly spec: {
        readonly containers: readonly Container[];
        readonly volumes: readonly { name: string }[];
      };
    };
  };
  validate(): void;
}

const kinds = { DaemonSet, Job, PersistentVolumeClaim };

/** All manifests, as instances that know Kubernetes' own schemas. */
function manifests(): Manifest[] {
  const folder = join(deploy, "kubernetes");
  return readdirSync(folder).flatMap((name) =>
    parseAllDocuments(readFileSync(join(folder, name), "utf8")).map((document) => {
      expect(document.errors).toEqual([]);
      const data = document.toJS() as { kind: keyof typeof kinds };
      return new (kinds[data.kind] as new (given: unknown) => Manifest)(data);
    }),
  );
}

describe("deploy/kubernetes", () => {
  it("is valid against the schemas of Kubernetes, which refuse what is wrong", () => {
    const all = manifests();
    expect(all.map(({ kind }) => kind).sort()).toEqual([
      "DaemonSet",
      "Job",
      "Job",
      "PersistentVolumeClaim",
    ]);
    for (const manifest of all) manifest.validate();
    const wrong = new DaemonSet({ spec: { selector: 5 } } as never);
    expect(() => {
      wrong.validate();
    }).toThrow();
  });

  it("mounts what its volumes name, and its shell parses", () => {
    for (const { spec } of manifests()) {
      if (spec.template === undefined) continue;
      const { containers, volumes } = spec.template.spec;
      for (const container of containers) {
        const names = volumes.map(({ name }) => name);
        for (const mount of container.volumeMounts) expect(names).toContain(mount.name);
        expect(container.command).toEqual(["/bin/sh", "-c"]);
        const parsed = spawnSync("/bin/sh", ["-n", "-c", container.args[0] ?? ""]);
        expect([parsed.status, parsed.stderr.toString()]).toEqual([0, ""]);
      }
    }
  });

  it("uses only verbs and options that the tool has", () => {
    for (const { spec } of manifests()) {
      for (const { args } of spec.template?.spec.containers ?? []) {
        for (const [, verb, rest] of (args[0] ?? "").matchAll(/peerbar (\w+)([^\n;&|>]*)/g)) {
          const help = spawnSync(process.execPath, [bin, verb ?? "", "--help"], {
            encoding: "utf8",
          });
          expect([verb, help.status]).toEqual([verb, 0]);
          for (const [option] of (rest ?? "").matchAll(/(?<= )--?[a-zA-Z][a-z-]*/g)) {
            expect(help.stdout).toContain(option);
          }
        }
      }
    }
  });
});

describe("the Node Problem Detector plugin", () => {
  const script = join(deploy, "node-problem-detector/peerbar-topology.sh");
  const good = file("good.json", toCapture(generateServer({ vfs: 1 })));
  const run = (...args: string[]): { code: number | null; out: string } => {
    const { status, stdout } = spawnSync("/bin/sh", [script, ...args], {
      encoding: "utf8",
      env: { ...process.env, PEERBAR: `${process.execPath} ${bin}` },
    });
    return { code: status, out: stdout };
  };

  it("0: the topology is as it should be", () => {
    const same = file("same.json", toCapture(generateServer({ vfs: 1, name: "other" })));
    expect(run(good, same)).toEqual({ code: 0, out: "PCI topology is as in the reference\n" });
  });

  it("1: it is not, and one line of at most 80 characters says what", () => {
    const bad = file(
      "bad.json",
      readFileSync(good, "utf8").replace(
        /("address":"0000:1a:00\.0".*?"acs":\{"control":)"0x0000"/,
        '$1"0x0004"',
      ),
    );
    const { code, out } = run(good, bad);
    expect([code, out]).toEqual([1, "0000:1a:00.0 switch down: ACS !RR instead of off\n"]);
    const worse = run(good, file("worse.json", toCapture(generateServer({ vfs: 1, acs: "on" }))));
    expect(worse.code).toBe(1);
    expect(worse.out.length).toBeLessThanOrEqual(81);
    expect(worse.out).toMatch(/ \(\+\d+\)\n$/);
  });

  it("2: it cannot be told", () => {
    const folder = scratch();
    const damaged = join(folder, "damaged.json");
    writeFileSync(damaged, "{");
    const blind = file(
      "blind.json",
      readFileSync(good, "utf8").replaceAll(/"acs":\{"control":[^}]*\}/g, '"acs":{"unknown":"no"}'),
    );
    for (const args of [[], ["/nonexistent"], [good, damaged], [good, blind], [damaged, good]]) {
      const { code, out } = run(...args);
      expect([args, code]).toEqual([args, 2]);
      expect(out.length).toBeGreaterThan(10);
      expect(out.length).toBeLessThanOrEqual(81);
    }
  });

  it("its configuration names the script and keeps the message as short as the script does", () => {
    const config = JSON.parse(
      readFileSync(join(deploy, "node-problem-detector/peerbar-topology.json"), "utf8"),
    ) as {
      plugin: string;
      pluginConfig: { max_output_length: number };
      conditions: { type: string }[];
      rules: { condition: string; path: string }[];
    };
    expect(config.plugin).toBe("custom");
    expect(config.pluginConfig.max_output_length).toBe(80);
    expect(config.rules[0]?.condition).toBe(config.conditions[0]?.type);
    expect(config.rules[0]?.path).toMatch(/\/peerbar-topology\.sh$/);
  });
});
