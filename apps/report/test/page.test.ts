import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { matrix, P2pdma, parseCapture } from "@peerbar/p2pdma";
import { beforeAll, describe, expect, test } from "vitest";
import { buildTemplate } from "../build.js";
import { readPlace, writePlace } from "../src/page/address.js";
import { changes, clearRedirects, flipBit, nothingChanged, tidy } from "../src/page/edits.js";
import { lanesOf } from "../src/page/lanes.js";
import {
  effectOf,
  firstFilter,
  firstPair,
  machineOf,
  membersOf,
  usable,
} from "../src/page/machine.js";
import { search } from "../src/page/search.js";
import { layOut, size } from "../src/page/tree-layout.js";
import { wayOver } from "../src/page/way.js";
import { dataOf, episode, pageOf, shipped, threeMachines } from "./machines.js";

let template = "";
beforeAll(async () => {
  template = await buildTemplate();
});

const content = (html: string, id: string): string =>
  new RegExp(`<script type="application/json" id="${id}">([\\s\\S]*?)</script>`).exec(html)?.[1] ??
  "";

describe("the template", () => {
  test("is no larger without the data than the benchmarks' target allows", () => {
    const file = fileURLToPath(new URL("../../bench/targets.json", import.meta.url));
    const targets = JSON.parse(readFileSync(file, "utf8")) as {
      bytes: Record<string, { bytes: number }>;
    };
    const target = targets.bytes["processes/report-page"]?.bytes;
    expect(Buffer.byteLength(template)).toBeLessThanOrEqual(target ?? 0);
  });

  test("names no other place, and its policy lets one script and one style run and nothing be fetched", () => {
    const policy =
      /http-equiv="Content-Security-Policy" content="([^"]+)"/.exec(template)?.[1] ?? "";
    const script = /<script>([\s\S]+?)<\/script>\s*<\/body>/.exec(template)?.[1] ?? "";
    const style = /<style>([\s\S]+?)<\/style>/.exec(template)?.[1] ?? "";
    const hash = (text: string): string =>
      `'sha256-${createHash("sha256").update(text).digest("base64")}'`;
    expect(policy.split("; ")).toEqual([
      "default-src 'none'",
      `script-src ${hash(script)}`,
      `style-src ${hash(style)}`,
      "img-src data:",
      "base-uri 'none'",
      "form-action 'none'",
    ]);
    expect(template).not.toMatch(/<(?:script|link|img|iframe)[^>]+(?:src|href)=["'](?!data:)/);
    expect(style).not.toMatch(/url\(|@import/);
  });
});

describe("the data in the page", () => {
  test("is the capture, whole", () => {
    const topology = shipped();
    const read = parseCapture(content(pageOf(template, topology), "capture"), "page");
    expect(read.functions).toEqual(topology.functions);
    expect(read.iommuGroups).toEqual(topology.iommuGroups);
  });

  test.each([
    "</script><script>globalThis.broken = true</script>",
    "<!--<script>",
    "<!--REPORT--><!--CAPTURE--><!--TITLE-->",
    "$& $1 $` %SCRIPT%",
    "\u2028\u2029&lt;",
  ])("does not break out of its element: %j", (name) => {
    const source = shipped();
    const [first] = source.functions;
    if (first === undefined) throw new Error("an empty machine");
    const hostile = Object.assign(
      Object.create(Object.getPrototypeOf(source) as object) as typeof source,
      source,
      {
        functions: [{ ...first, name }, ...source.functions.slice(1)],
        source: { ...source.source, name },
      },
    );
    const html = pageOf(template, hostile);
    const capture = content(html, "capture");
    expect(capture).not.toContain("<");
    expect(parseCapture(capture, "page").functions[0]?.name).toBe(name);
    expect(html.split("<script").length).toBe(template.split("<script").length);
    expect(JSON.parse(content(html, "report"))).toEqual(dataOf(hostile));
  });
});

describe("the address", () => {
  test("keeps a pair and its edits", () => {
    const place = {
      provider: "0000:1b:00.0",
      client: "0000:1d:00.0",
      whatIf: {
        iommu: "passthrough" as const,
        cpu: "amd-zen" as const,
        trust: ["0000:00", "0000:88"],
        acs: { "0000:1a:00.0": 0x1d, "0000:1a:01.0": 0 },
      },
    };
    expect(readPlace(writePlace(place))).toEqual(place);
    const all = { ...place, whatIf: { ...place.whatIf, trust: "all" as const } };
    expect(readPlace(writePlace(all))).toEqual(all);
  });

  test("what means nothing is passed over, and edits of another machine are none", () => {
    expect(readPlace("#iommu=maybe&cpu=z80&acs=x&acs=0000:00:00.0=99999")).toEqual({
      provider: undefined,
      client: undefined,
      whatIf: nothingChanged,
    });
    const foreign = { ...nothingChanged, acs: { "0000:fa:00.0": 0 } };
    expect(usable(shipped(), foreign)).toEqual(nothingChanged);
    expect(usable(shipped(), { ...nothingChanged, iommu: "off" }).iommu).toBe("off");
  });
});

describe("edits", () => {
  test("a bit flipped twice is no edit", () => {
    const topology = shipped();
    const port = topology.functions.find((fn) => fn.acs.state === "present");
    if (port?.acs.state !== "present") throw new Error("no port has ACS");
    const { control } = port.acs;
    const once = tidy(flipBit(nothingChanged, port.address, control, "RR"), topology);
    expect(once.acs).toEqual({ [port.address]: control ^ 4 });
    const twice = tidy(flipBit(once, port.address, control ^ 4, "RR"), topology);
    expect(changes(twice)).toBe(false);
  });

  test("the advice, tried, gives the answer that it promises, and the effect is counted over all pairs", () => {
    const topology = shipped();
    const data = dataOf(topology);
    const base = machineOf(topology, data, nothingChanged);
    const members = membersOf(topology, firstFilter(topology));
    const [provider, client] = firstPair(base.p2pdma, members) ?? ["", ""];
    const decision = base.p2pdma.decide(provider, client);
    expect(decision.mapType).toBe("not-supported");
    const state = clearRedirects(nothingChanged, topology, decision.acsRedirect);
    const after = machineOf(topology, data, state);
    expect(after.p2pdma.decide(provider, client).mapType).toBe("bus-addr");
    const [was, is] = [matrix(base.p2pdma, members), matrix(after.p2pdma, members)];
    let differ = 0;
    for (const p of members) {
      for (const c of members) {
        if (base.p2pdma.decide(p, c).mapType !== after.p2pdma.decide(p, c).mapType) differ += 1;
      }
    }
    const effect = effectOf(topology, state, was, is);
    expect(effect?.changed).toBe(differ);
    expect(differ).toBeGreaterThan(0);
    expect(effect?.sums.reduce((sum, one) => sum + one.count, 0)).toBe(differ);
    expect(effectOf(topology, nothingChanged, was, was)).toBeUndefined();
  });
});

describe("the tree", () => {
  test("each function is drawn once, below its parent, and no two boxes meet", async () => {
    for (const { topology } of await threeMachines()) {
      const picture = layOut(topology, { vfs: true, crowd: true, always: [] });
      const drawn = picture.nodes.flatMap((node) => node.fn?.address ?? []);
      expect(new Set(drawn).size).toBe(drawn.length);
      expect(drawn.length).toBe(topology.functions.length);
      for (const { from, to } of picture.edges) {
        expect(from.x + from.width).toBeLessThan(to.x);
        expect(to.parent).toBe(from.key);
        if (to.fn !== undefined && to.fn.parent >= 0) {
          expect(from.key).toBe(topology.functions[to.fn.parent]?.address);
        }
      }
      for (const [i, a] of picture.nodes.entries()) {
        for (const b of picture.nodes.slice(i + 1)) {
          const apart =
            Math.abs(a.y - b.y) >= size.box || a.x + a.width <= b.x || b.x + b.width <= a.x;
          if (!apart) throw new Error(`${a.key} and ${b.key} overlap on ${topology.source.name}`);
        }
      }
    }
  });

  test("folded, it still has every device and whatever must be seen", () => {
    const topology = shipped();
    const vf = topology.functions.find((fn) => fn.physfn >= 0);
    const folded = layOut(topology, { vfs: false, crowd: false, always: [vf?.address ?? ""] });
    const keys = new Set(folded.nodes.map((node) => node.key));
    expect(keys.has(vf?.address ?? "")).toBe(true);
    const bridges = topology.functions.filter((fn) => fn.busNumbers !== undefined);
    for (const fn of bridges) expect(keys.has(fn.address)).toBe(true);
    expect(folded.nodes.length).toBeLessThan(topology.functions.length);
  });

  test("the way lights every step of the decision and marks what redirects (p2pdma R7, R8)", () => {
    const topology = shipped();
    const p2pdma = new P2pdma(topology);
    const ends = topology.endpoints();
    for (const provider of ends) {
      for (const client of ends) {
        const decision = p2pdma.decide(provider, client);
        const way = wayOver(topology, decision);
        for (const step of [...decision.upPath, ...decision.downPath]) {
          expect(way.sides.has(step.address)).toBe(true);
        }
        expect([...way.redirects]).toEqual([...new Set(decision.acsRedirect)]);
        const turns = decision.mapTypeAsShown === "bus-addr" || provider === client;
        expect(way.hosts.length === 0).toBe(turns);
      }
    }
  });
});

describe("the timeline", () => {
  test("stretches begin and end with their events; what never ends goes on", () => {
    const { lanes, spans, rows } = lanesOf(episode.events);
    expect(rows.map((row) => row.words).every((words) => words !== "")).toBe(true);
    const named = spans.map((span) => [lanes[span.lane]?.label, span.state, span.from, span.to]);
    expect(named).toEqual(
      expect.arrayContaining([
        ["buffer bar #1", "alive", 0, 8],
        ["attachment a.1", "alive", 1, 8],
        ["lock bar #1", "held", 2, 4],
        ["attachment a.1", "mapped", 3, 6],
        ["buffer bar #1", "void", 5, 8],
      ]),
    );
    expect(spans).toHaveLength(5);
    expect(rows.at(-1)?.words).toBe("somebody-elses weight 3");
    expect(rows.at(-2)?.tone).toBe("bad");
  });
});

test("what is revoked is not shown as mapped: iommufd areas and RDMA regions follow their buffer", () => {
  const buffer = "bar #1";
  const { lanes, spans } = lanesOf([
    { type: "iommufd-map", buffer, ioas: 1, iova: "0x1000", length: "0x1000" },
    { type: "iommufd-map", buffer: "other", ioas: 1, iova: "0x9000", length: "0x1000" },
    {
      type: "rdma-reg-mr",
      device: "n",
      buffer,
      key: 7,
      mode: "dynamic",
      iova: "0x0",
      length: "0x1",
    },
    { type: "iommufd-revoke", buffer, areas: 1 },
    { type: "rdma-mr-zapped", device: "n", key: 7 },
    { type: "rdma-page-fault", device: "n", key: 7, pageSize: "0x1000" },
    { type: "iommufd-unmap", ioas: 1, iova: "0x1000", length: "0x1000" },
    { type: "rdma-dereg-mr", device: "n", key: 7 },
  ]);
  const named = spans.map((span) => [lanes[span.lane]?.label, span.state, span.from, span.to]);
  expect(named).toHaveLength(6);
  expect(named).toEqual(
    expect.arrayContaining([
      ["iommufd bar #1", "mapped", 0, 3],
      ["iommufd bar #1", "void", 3, 6],
      ["iommufd other", "mapped", 1, 7],
      ["MR 7 of n", "mapped", 2, 4],
      ["MR 7 of n", "void", 4, 5],
      ["MR 7 of n", "mapped", 5, 7],
    ]),
  );
});

describe("search", () => {
  test("finds by address, name, kind and kernel name, every word of it", () => {
    const topology = shipped();
    expect(search(topology, "")).toEqual([]);
    expect(search(topology, "1b:00.0").map((fn) => fn.address)).toEqual(["0000:1b:00.0"]);
    expect(search(topology, "mlx5_0").length).toBeGreaterThan(0);
    const gpus = search(topology, "gpu nvidia");
    expect(gpus).toHaveLength(8);
    expect(search(topology, "gpu nvidia nothing")).toEqual([]);
  });
});
