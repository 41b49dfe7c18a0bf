import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { run } from "../src/main.js";
import { runCli } from "./run.js";

const capture = fileURLToPath(import.meta.resolve("@peerbar/p2pdma/captures/gpu-server-2s.json"));

interface Pair {
  readonly provider: string;
  readonly client: string;
  readonly mapType: string;
}

async function pairs(): Promise<readonly Pair[]> {
  const { out } = await runCli("matrix", "--json", "-F", capture, "--class", "gpu,nic");
  return (JSON.parse(out) as { pairs: Pair[] }).pairs;
}

async function pairOf(mapType: string): Promise<Pair> {
  const found = (await pairs()).find(
    (pair) => pair.mapType === mapType && pair.provider !== pair.client,
  );
  if (found === undefined) throw new Error(`the capture has no ${mapType}`);
  return found;
}

const mock = (...argv: string[]): ReturnType<typeof runCli> =>
  runCli("share", "--backend", "mock", "-F", capture, ...argv);

describe("share --backend mock", () => {
  test("rehearses the whole: export, map, release; exit 0", async () => {
    const { provider, client } = await pairOf("bus-addr");
    const { code, out, err } = await mock(provider, client, "--bar", "0", "--range", "0+64K");
    expect(err).toBe("");
    expect(code).toBe(0);
    expect(out).toContain(`BAR 0 [0x0, 0x10000) of ${provider}, 64K`);
    expect(out).toMatch(
      new RegExp(`IOVA 0x[0-9a-f]+ to 0x[0-9a-f]+ in the address space of ${client}`),
    );
    expect(out).toMatch(/done: shared and released, nothing is left\n$/);
  });

  test("--json is a line when it is shared and a line when it is released", async () => {
    const { provider, client } = await pairOf("bus-addr");
    const { out } = await mock(provider, client, "--bar", "0", "--range", "4K+8K", "--json");
    const [shared, released, ...rest] = out
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(shared).toMatchObject({
      schemaVersion: 1,
      event: "shared",
      backend: "mock",
      provider,
      client,
      mapType: "bus-addr",
      bar: 0,
      offset: "0x1000",
      length: "0x2000",
      dmaBuf: { size: "0x2000" },
    });
    expect(shared?.iova).toMatch(/^0x[0-9a-f]+$/);
    expect(released).toEqual({
      schemaVersion: 1,
      event: "released",
      ok: true,
      ended: "at once",
      leftovers: [],
    });
    expect(rest).toEqual([]);
  });

  test("a pair that cannot share ends with 1 and its reason, and --anyway shares it (iommufd R30)", async () => {
    const { provider, client } = await pairOf("not-supported");
    const refused = await mock(provider, client, "--bar", "0", "--range", "0+4K");
    expect(refused.code).toBe(1);
    expect(refused.out).toContain(`no: ${client} cannot reach BAR 0 of ${provider}`);
    expect(refused.out).not.toContain("IOVA");
    const shared = await mock(provider, client, "--bar", "0", "--range", "0+4K", "--anyway");
    expect(shared.code).toBe(0);
    expect(shared.out).toContain("IOVA");
  });

  test.each(["SIGINT", "SIGTERM", "SIGHUP"] as const)("%s releases, exit 0", async (signal) => {
    const { provider, client } = await pairOf("bus-addr");
    const before = process.listenerCount(signal);
    let out = "";
    const argv = [provider, client, "--bar", "0", "--range", "0+4K", "--json", "--hold", "3600"];
    const code = await run(["share", "--backend", "mock", "-F", capture, ...argv], {
      out: (text) => {
        out += text;
        // As the system would: only while it is held.
        if (text.includes('"shared"')) setImmediate(() => process.emit(signal, signal));
      },
      err: (text) => {
        out += text;
      },
      color: false,
      width: 100,
      env: {},
    });
    expect(code).toBe(0);
    expect(out).toContain(`"ended":"${signal}","leftovers":[]`);
    expect(process.listenerCount(signal)).toBe(before);
  });

  test("--hold ends by itself", async () => {
    const { provider, client } = await pairOf("bus-addr");
    const argv = [provider, client, "--bar", "0", "--range", "0+4K", "--json", "--hold", "0.01"];
    const { out } = await mock(...argv);
    expect(out).toContain('"ended":"time"');
  });

  test.each([
    [["--bar", "9"], /EINVAL: --bar: "9" is no BAR/],
    [[], /EINVAL: --bar: missing; name the BAR/],
    [["--bar", "0", "--range", "x"], /EINVAL: --range/],
    [["--bar", "0", "--range", "1+4K"], /EINVAL: .*vfio/],
    [["--bar", "0", "--range", "0+1T"], /EINVAL: .*BAR/],
    [["--bar", "5"], /ENODEV: share: .* has no memory BAR 5/],
    [["--bar", "0", "--hold", "soon"], /EINVAL: --hold: "soon" is no time/],
  ])("bad input %s is one line, exit 2", async (argv, message) => {
    const { provider, client } = await pairOf("bus-addr");
    const { code, err } = await mock(provider, client, ...argv);
    expect(err).toMatch(message);
    expect(err.trimEnd().split("\n")).toHaveLength(1);
    expect(code).toBe(2);
  });

  test("other backends and a capture for the native one are refused, exit 2", async () => {
    const other = await runCli("share", "a", "b", "--bar", "0", "--backend", "qemu");
    expect([other.code, other.err]).toEqual([
      2,
      'peerbar: EINVAL: --backend: no backend "qemu"; use one of native, mock\n',
    ]);
    const native = await runCli("share", "a", "b", "--bar", "0", "-F", capture);
    expect(native.code).toBe(2);
    expect(native.err).toContain("--backend mock rehearses it");
  });
});

describe("share --backend native", () => {
  test.skipIf(existsSync("/dev/iommu"))(
    "without iommufd: one line with the next step, exit 3, nothing changed",
    async () => {
      const { code, out, err } = await runCli("share", "01:00.0", "02:00.0", "--bar", "0");
      expect(out).toBe("");
      expect(err).toMatch(/^peerbar: E[A-Z]+: .*; .+\n$/);
      if (process.platform === "linux")
        expect(err).toMatch(/^peerbar: ENOENT: openat: \/dev\/iommu; modprobe iommufd/);
      expect(code).toBe(3);
    },
  );
});
