import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { generateFleet, generateServer, toCapture } from "@peerbar/p2pdma";
import { XMLParser } from "fast-xml-parser";
import { ResourceSlice } from "kubernetes-models/resource.k8s.io/v1";
import { describe, expect, it } from "vitest";
import { file, realMachines, scratch, shipped } from "./fixtures.js";
import { runCli } from "./run.js";

/** Every real machine that is there, the shipped one, and one with more devices than a ResourceSlice holds. */
const machines = [
  { name: "gpu-server-2s", path: shipped },
  { name: "a fleet node", path: file("fleet.json", toCapture(generateFleet({ roots: 4 }))) },
  ...realMachines(),
];

async function made(format: string, path: string, ...more: string[]): Promise<string> {
  const { code, out } = await runCli(
    "labels",
    "-F",
    path,
    "--format",
    format,
    "--node",
    "node-7",
    ...more,
  );
  expect(code).toBe(0);
  return out;
}

interface MatrixJson {
  readonly pairs: readonly { provider: string; client: string; mapType: string }[];
}

/** Two GPUs below root ports of two host bridges as plain lspci prints them: nothing but names. */
const plain = file(
  "plain.txt",
  [
    "00:00.0 Host bridge [0600]: Advanced Micro Devices, Inc. [AMD] Device [1022:ffff]",
    "00:02.0 3D controller [0302]: NVIDIA Corporation Device [10de:2330]",
    "80:00.0 Host bridge [0600]: Advanced Micro Devices, Inc. [AMD] Device [1022:ffff]",
    "80:02.0 3D controller [0302]: NVIDIA Corporation Device [10de:2330]",
    "",
  ].join("\n"),
);

describe("labels of what the input does not show", () => {
  it("nfd: an IOMMU that is not shown is not false", async () => {
    expect(await made("nfd", plain)).toContain("peerbar.iommu=unknown\n");
    const off = file("off.json", toCapture(generateServer({ iommu: "off" })));
    expect(await made("nfd", off)).toContain("peerbar.iommu=false\n");
  });

  it("nccl-xml: two host bridges in one numaid are told of on stderr", async () => {
    const format = ["--format", "nccl-xml", "--node", "n"];
    expect((await runCli("labels", "-F", plain, ...format)).err).toContain("numaid 0");
    expect((await runCli("labels", "-F", shipped, ...format)).err).toBe("");
  });

  it("slurm: a 0 for want of data is told of", async () => {
    const text = await made("slurm", plain);
    expect(text).toContain("0 none, or not known\n# 1 pair of GPUs not known");
    expect(await made("slurm", shipped)).not.toContain("GPUs not known");
  });
});

describe("labels --format nfd", () => {
  it.each(machines)("$name: lines that nfd-worker and the API server take", async ({ path }) => {
    const text = await made("nfd", path);
    expect(Buffer.byteLength(text)).toBeLessThan(64 * 1024);
    expect(text.endsWith("\n")).toBe(true);
    const lines = text.trimEnd().split("\n");
    for (const line of lines) {
      // A namespace that nfd-master admits, a name and a value as label syntax has them: at most 63 characters each.
      expect(line).toMatch(
        /^feature\.node\.kubernetes\.io\/[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?=[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/,
      );
    }
    expect(new Set(lines.map((line) => line.split("=")[0])).size).toBe(lines.length);
  });

  it("counts what the matrix says", async () => {
    const text = await made("nfd", shipped);
    const out = (await runCli("matrix", "-F", shipped, "--json", "--class", "gpu")).out;
    // The service processor's VGA function is no GPU to schedule.
    const pairs = (JSON.parse(out) as MatrixJson).pairs.filter(
      ({ provider, client }) => provider !== client && ![provider, client].includes("0000:02:00.0"),
    );
    for (const mapType of ["bus-addr", "thru-host-bridge", "not-supported", "unknown"]) {
      const count = pairs.filter((pair) => pair.mapType === mapType).length;
      expect(text).toContain(`peerbar.p2p.gpu.from-gpu.${mapType}=${String(count)}\n`);
    }
    expect(text).toContain("peerbar.p2p.gpu.from-gpu=some\n");
    expect(text).toContain("peerbar.gpu.count=8\n");
  });

  it("says all, none and unknown where that is so", async () => {
    const verdict = async (capture: string): Promise<string | undefined> =>
      /from-gpu=(\S+)/.exec(await made("nfd", file("x.json", capture)))?.[1];
    const server = (options: Parameters<typeof generateServer>[0]): string =>
      toCapture(generateServer(options));
    expect(await verdict(server({ cpu: "amd-zen" }))).toBe("all");
    expect(await verdict(server({ acs: "on", hostBridges: "unlisted" }))).toBe("none");
    const blind = server({ hostBridges: "unlisted" }).replaceAll(
      /"acs":\{"control":[^}]*\}/g,
      '"acs":{"unknown":"no privilege"}',
    );
    expect(await verdict(blind)).toBe("unknown");
  });
});

const promtool = ((): string | undefined => {
  const found = [process.env.PROMTOOL, "promtool"].find((path) => {
    try {
      if (path !== undefined) execFileSync(path, ["--version"], { stdio: "ignore" });
      return path !== undefined;
    } catch {
      return false;
    }
  });
  if (found === undefined) {
    console.log(
      "no promtool here (Debian's prometheus package, or $PROMTOOL): the grammar is checked alone",
    );
  }
  return found;
})();

describe("labels --format prometheus", () => {
  it.each(machines)("$name: the exposition format", async ({ path }) => {
    const text = await made("prometheus", path);
    const label = String.raw`[a-z_]+="(?:[^"\\\n]|\\[\\"n])*"`;
    const sample = new RegExp(
      String.raw`^(peerbar_[a-z_]+)(?:\{${label}(?:,${label})*\})? (?:\d+(?:\.\d+)?(?:e\+\d+)?)$`,
    );
    let current = "";
    const seen = new Set<string>();
    for (const line of text.trimEnd().split("\n")) {
      const head = /^# (HELP|TYPE) (\S+) (.+)$/.exec(line);
      if (head?.[1] === "HELP") {
        expect(seen.has(head[2] ?? "")).toBe(false);
        current = head[2] ?? "";
      } else if (head?.[1] === "TYPE") expect([head[2], head[3]]).toEqual([current, "gauge"]);
      else {
        expect(sample.exec(line)?.[1]).toBe(current);
        expect(seen.has(line)).toBe(false);
      }
      seen.add(head === null ? line : current);
    }
  });

  it.skipIf(promtool === undefined).each(machines)(
    "$name: promtool finds nothing to say",
    async ({ path }) => {
      const input = await made("prometheus", path);
      const out = execFileSync(promtool ?? "", ["check", "metrics"], { input, encoding: "utf8" });
      expect(out).toBe("");
    },
  );

  it("escapes what names may hold", async () => {
    const capture = toCapture(generateServer()).replaceAll(
      '"mlx5_core"',
      String.raw`"odd\"driver\\name"`,
    );
    const text = await made("prometheus", file("odd.json", capture));
    expect(text).toContain(String.raw`driver="odd\"driver\\name"`);
  });
});

interface Slice {
  readonly spec: {
    readonly pool: { readonly resourceSliceCount: number };
    readonly devices: readonly {
      readonly name: string;
      readonly attributes: Readonly<Record<string, { string?: string; int?: number }>>;
      readonly capacity?: Readonly<Record<string, { value: string }>>;
    }[];
  };
}

const slicesOf = (text: string): Slice[] => (JSON.parse(text) as { items: Slice[] }).items;

describe("labels --format dra", () => {
  it.each(machines)("$name: ResourceSlices within the API's limits", async ({ path }) => {
    const slices = slicesOf(await made("dra", path));
    const names = new Set<string>();
    for (const slice of slices) {
      // Against the schemas of Kubernetes' own OpenAPI.
      new ResourceSlice(
        slice as unknown as ConstructorParameters<typeof ResourceSlice>[0],
      ).validate();
      expect(slice.spec.pool.resourceSliceCount).toBe(slices.length);
      expect(slice.spec.devices.length).toBeLessThanOrEqual(128);
      for (const { name, attributes, capacity = {} } of slice.spec.devices) {
        expect(name).toMatch(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/);
        expect(names.has(name)).toBe(false);
        names.add(name);
        const keys = [...Object.keys(attributes), ...Object.keys(capacity)];
        expect(keys.length).toBeLessThanOrEqual(32);
        for (const key of keys) expect(key.split("/")[1]).toMatch(/^[A-Za-z_][A-Za-z0-9_]{0,31}$/);
        for (const value of Object.values(attributes)) {
          expect(Object.keys(value)).toHaveLength(1);
          expect(value.string?.length ?? 0).toBeLessThanOrEqual(64);
        }
        expect(attributes["resource.kubernetes.io/pciBusID"]?.string).toMatch(
          /^[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$/,
        );
        expect(attributes["resource.kubernetes.io/pcieRoot"]?.string).toMatch(
          /^pci[0-9a-f]{4,8}:[0-9a-f]{2}$/,
        );
      }
    }
  });

  it("devices of one p2pDomain all reach each other by bus address, and no pair across does", async () => {
    const acs = toCapture(generateServer({ acs: "mixed" }));
    for (const path of [shipped, file("mixed.json", acs)]) {
      const devices = slicesOf(await made("dra", path)).flatMap(({ spec }) => spec.devices);
      const domain = new Map(
        devices.map(({ attributes }) => [
          attributes["resource.kubernetes.io/pciBusID"]?.string,
          attributes["peerbar.github.io/p2pDomain"]?.string,
        ]),
      );
      expect([...domain.values()].filter((name) => name !== undefined).length).toBeGreaterThan(3);
      const { pairs } = JSON.parse(
        (await runCli("matrix", "-F", path, "--json")).out,
      ) as MatrixJson;
      for (const { provider, client, mapType } of pairs) {
        if (provider === client || !domain.has(provider) || !domain.has(client)) continue;
        const same =
          domain.get(provider) !== undefined && domain.get(provider) === domain.get(client);
        expect([provider, client, same]).toEqual([provider, client, mapType === "bus-addr"]);
      }
    }
  });
});

interface XmlNode {
  readonly busid?: string;
  readonly numaid?: string;
  readonly cpu?: readonly XmlNode[];
  readonly pci?: readonly XmlNode[];
}

/** Every element that opens closes, in order, and there is one root. */
function isWellFormed(text: string): boolean {
  const open: string[] = [];
  let roots = 0;
  for (const [, closes, name, , alone] of text.matchAll(
    /<(\/?)(\w+)((?: \w+="[^"<&]*")*)(\/?)>/g,
  )) {
    if (closes === "/") {
      if (open.pop() !== name) return false;
    } else {
      if (open.length === 0) roots += 1;
      if (alone !== "/") open.push(name ?? "");
    }
  }
  const rest = text.replaceAll(/<\/?\w+(?: \w+="[^"<&]*")*\/?>/g, "").trim();
  return open.length === 0 && roots === 1 && rest === "";
}

const xml = new XMLParser({
  ignoreAttributes: false,
  attributeNamePrefix: "",
  parseAttributeValue: false,
  isArray: (name) => name === "cpu" || name === "pci",
});

describe("labels --format nccl-xml", () => {
  it.each(machines)("$name: well-formed, each GPU and NIC once", async ({ path }) => {
    const text = await made("nccl-xml", path);
    expect(isWellFormed(text)).toBe(true);
    const ids = [...text.matchAll(/busid="([^"]+)"/g)].map(([, id]) => id);
    expect(new Set(ids).size).toBe(ids.length);
    const devices = slicesOf(await made("dra", path)).flatMap(({ spec }) => spec.devices);
    for (const { name, attributes } of devices) {
      const id = attributes["resource.kubernetes.io/pciBusID"]?.string;
      expect([name, ids.includes(id)]).toEqual([name, !name.startsWith("nvme-")]);
    }
  });

  it("draws a switch as one element named by its upstream port, below the CPU of its NUMA node", async () => {
    const { system } = xml.parse(await made("nccl-xml", shipped)) as { system: XmlNode };
    const drawn = system.cpu?.map(({ numaid, pci = [] }) => [
      numaid,
      pci.map(({ busid, pci: below = [] }) => [busid, below.map((node) => node.busid)]),
    ]);
    expect(drawn?.[0]).toEqual([
      "0",
      [
        ["0000:19:00.0", ["0000:1b:00.0", "0000:1c:00.0", "0000:1d:00.0"]],
        ["0000:51:00.0", ["0000:53:00.0", "0000:54:00.0", "0000:55:00.0"]],
      ],
    ]);
    expect(drawn).toHaveLength(2);
  });

  it("uses no element or attribute that NCCL's own files lack", async () => {
    const real = realMachines()[0];
    if (real === undefined) return;
    const folder = join(dirname(real.path), "nccl-xml");
    const words = (text: string): Set<string> =>
      new Set(
        [...text.matchAll(/<(\w+)|\s(\w+)="/g)].map(([, name, key]) => name ?? `@${key ?? ""}`),
      );
    const known = words(
      readdirSync(folder)
        .map((name) => readFileSync(join(folder, name), "utf8"))
        .join(),
    );
    for (const word of words(await made("nccl-xml", shipped))) expect([...known]).toContain(word);
  });
});

describe("labels --format slurm", () => {
  it("Links are in the order of the lines, -1 for itself, and better connected is more", async () => {
    const lines = (await made("slurm", shipped)).trimEnd().split("\n").slice(1);
    expect(lines).toHaveLength(8);
    for (const [index, line] of lines.entries()) {
      const [, file_, links] =
        /^NodeName=node-7 Name=gpu Type=[a-z0-9_]+ File=(\S+) Links=([\d,-]+)$/.exec(line) ?? [];
      expect(file_).toBe(`/dev/nvidia${String(index)}`);
      expect(links?.split(",").indexOf("-1")).toBe(index);
      expect(links?.split(",")).toHaveLength(8);
    }
    expect(lines[0]).toMatch(/Links=-1,2,1,1,0,0,0,0$/);
    expect(lines[7]).toMatch(/Links=0,0,0,0,0,0,0,-1$/);
  });
});

describe("labels", () => {
  it("-o writes the same bytes, whole, and leaves nothing beside it", async () => {
    const folder = scratch();
    const path = join(folder, "peerbar");
    expect(await made("nfd", shipped, "-o", path)).toBe("");
    expect(readFileSync(path, "utf8")).toBe(await made("nfd", shipped));
    expect(readdirSync(folder)).toEqual(["peerbar"]);
  });

  it.each([
    [["--format", "yaml"], 'no format "yaml"; use one of nfd, prometheus'],
    [[], "no format was named"],
    [["--format", "dra", "--node", "Node_7"], '"Node_7" is no DNS name'],
    [["--format", "dra", "--domain", "peerbar"], ""],
    [["--format", "dra", "--domain", "-"], '"-" is no DNS name'],
    [["--format", "nfd", "-o", "/nonexistent/x"], "/nonexistent/x cannot be written"],
  ])("%j", async (args, reason) => {
    const { code, err } = await runCli("labels", "-F", shipped, ...args);
    expect(code).toBe(reason === "" ? 0 : 2);
    expect(err).toContain(reason);
    expect(err.split("\n").length).toBeLessThanOrEqual(2);
  });
});
