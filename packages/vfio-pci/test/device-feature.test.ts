import { FdTable } from "@peerbar/core";
import { describe, expect, it } from "vitest";
import {
  VFIO_DEVICE_FEATURE_DMA_BUF as DMA_BUF,
  deviceFeature,
  VFIO_DEVICE_FEATURE_GET as GET,
  VFIO_DEVICE_FEATURE_PROBE as PROBE,
  VFIO_DEVICE_FEATURE_SET as SET,
  VFIO_DEVICE_FEATURE,
} from "../src/index.js";
import { errorOf, refusal, settle } from "./fixtures/errors.js";
import { ioBar, MIB, memoryBar } from "./fixtures/fake-function.js";
import { DynamicImporter, fakeDevice } from "./fixtures/fake-importer.js";
import { type RigOptions, rig } from "./fixtures/rig.js";

const PAGE = 0x1000n;
const CLOEXEC = 0x80000;

interface Call {
  readonly argsz?: number;
  readonly flags?: number;
  readonly bar?: number;
  readonly openFlags?: number;
  readonly payloadFlags?: number;
  readonly count?: number;
  readonly ranges?: readonly (readonly [bigint, bigint])[];
  /** Bytes that can be read. */
  readonly readable?: number;
  readonly built?: boolean;
  readonly exports?: boolean;
}

function encode(call: Call): Uint8Array {
  const ranges = call.ranges ?? [[0n, PAGE]];
  const bytes = new Uint8Array(24 + 16 * ranges.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, call.argsz ?? bytes.length, true);
  view.setUint32(4, call.flags ?? DMA_BUF | GET, true);
  view.setUint32(8, call.bar ?? 0, true);
  view.setUint32(12, call.openFlags ?? CLOEXEC, true);
  view.setUint32(16, call.payloadFlags ?? 0, true);
  view.setUint32(20, call.count ?? ranges.length, true);
  ranges.forEach(([offset, length], i) => {
    view.setBigUint64(24 + 16 * i, offset, true);
    view.setBigUint64(32 + 16 * i, length, true);
  });
  return bytes.subarray(0, call.readable ?? bytes.length);
}

const BARS = [
  memoryBar(0, 0x10_0000_0000n, 16n * MIB),
  undefined,
  ioBar(2, 0xe000n, 0x2000n),
  memoryBar(3, 0xffff_ffff_fff0_0000n, MIB / 2n),
];

async function call(one: Call, options: RigOptions = {}, limit = 64): Promise<number> {
  const { device } = await rig({ bars: BARS, ...options });
  const { built, exports } = one;
  return deviceFeature(device, new FdTable({ limit }), encode(one), { built, exports });
}

/** One violation of each rule, in the order of the table; later ones can be combined with earlier ones. */
const violations: readonly (readonly [string, string, Call])[] = [
  ["V1", "EFAULT", { readable: 7 }],
  ["V2", "EINVAL", { argsz: 7 }],
  ["V3", "EINVAL", { flags: DMA_BUF | GET | 0x80000 }],
  ["V4", "EINVAL", { flags: DMA_BUF | GET | SET }],
  ["V5", "EOPNOTSUPP", { exports: false }],
  ["V6", "EINVAL", { flags: DMA_BUF | SET }],
  ["V8", "EINVAL", { flags: DMA_BUF }],
  ["V9", "EINVAL", { argsz: 23 }],
  ["V10", "EFAULT", { readable: 23 }],
  ["V11", "EINVAL", { payloadFlags: 1 }],
  ["V12", "ENODEV", { bar: 1 }],
  ["V13", "EFAULT", { readable: 39 }],
  ["V14", "EINVAL", { ranges: [[0n, 0n]] }],
  [
    "V15",
    "EINVAL",
    {
      ranges: [
        [0n, 1n << 63n],
        [0n, 1n << 63n],
      ],
    },
  ],
  ["V16", "EINVAL", { ranges: [[0n, 1n << 63n]] }],
  ["V18", "EINVAL", { bar: 2 }],
  ["V19", "EOVERFLOW", { ranges: [[(1n << 64n) - PAGE, PAGE]] }],
  ["V20", "EINVAL", { ranges: [[16n * MIB, PAGE]] }],
];

describe("the validation table, vfio-pci-dmabuf V1 to V22", () => {
  it("the request number is _IO(';', 117)", () => {
    expect(VFIO_DEVICE_FEATURE).toBe((0x3b << 8) | 117);
  });

  it.each(violations)("%s alone is %s", async (rule, code, one) => {
    expect(await refusal(() => call(one))).toBe(`${code} vfio-pci-dmabuf ${rule}`);
  });

  it("vfio-pci-dmabuf V1 to V9 are refused by the ioctl, the rest by the export", async () => {
    const told = await Promise.all(
      violations.map(async ([rule, , one]) => [rule, (await errorOf(() => call(one))).syscall]),
    );
    expect(told).toEqual(
      violations.map(([rule]) => [
        rule,
        Number(rule.slice(1)) < 10 ? "vfio.deviceFeature" : "vfio.exportDmaBuf",
      ]),
    );
  });

  const pairs = violations.flatMap(([first, code, a], i) =>
    violations.slice(i + 1).flatMap(([second, , b]) => {
      // Two that need the same field cannot both be broken.
      const clash = Object.keys(a).some((key) => key in b);
      return clash ? [] : [{ first, second, code, both: { ...a, ...b } }];
    }),
  );

  it(`T1: two at once give the earlier one (${pairs.length} pairs)`, async () => {
    const wrong: string[] = [];
    for (const { first, second, code, both } of pairs) {
      // A list too short to hold what the other rule asks for hides nothing: it is the earlier one.
      const found = await refusal(() => call(both));
      if (found !== `${code} vfio-pci-dmabuf ${first}`) wrong.push(`${first}+${second}: ${found}`);
    }
    expect(wrong).toEqual([]);
    expect(pairs.length).toBeGreaterThan(90);
  });

  it("vfio-pci-dmabuf V7: a probe of GET answers 0, reads no payload and takes no descriptor; with SET it is vfio-pci-dmabuf V6", async () => {
    for (const flags of [DMA_BUF | PROBE, DMA_BUF | PROBE | GET]) {
      expect(await call({ flags, argsz: 8, readable: 8 })).toBe(0);
    }
    for (const flags of [DMA_BUF | PROBE | SET, DMA_BUF | PROBE | SET | GET]) {
      expect(await refusal(() => call({ flags }))).toBe("EINVAL vfio-pci-dmabuf V6");
    }
    expect(await refusal(() => call({ flags: DMA_BUF | PROBE, exports: false }))).toBe(
      "EOPNOTSUPP vfio-pci-dmabuf V5",
    );
  });

  it("vfio-pci-dmabuf V11: no range, and vfio-pci-dmabuf V13: more than one allocation carries, before the list is read", async () => {
    expect(await refusal(() => call({ count: 0, readable: 24 }))).toBe(
      "EINVAL vfio-pci-dmabuf V11",
    );
    expect(await refusal(() => call({ count: 0xffff_ffff, readable: 24 }))).toBe(
      "ENOMEM vfio-pci-dmabuf V13",
    );
    expect(await refusal(() => call({ count: 0xffff_ffff, bar: 1 }))).toBe(
      "ENODEV vfio-pci-dmabuf V12",
    );
  });

  it("vfio-pci-dmabuf V14 before vfio-pci-dmabuf V15, V15 before vfio-pci-dmabuf V16, range by range", async () => {
    const half = 1n << 63n;
    expect(
      await refusal(() =>
        call({
          ranges: [
            [0n, half],
            [0n, half],
            [1n, PAGE],
          ],
        }),
      ),
    ).toBe("EINVAL vfio-pci-dmabuf V15");
    expect(
      await refusal(() =>
        call({
          ranges: [
            [1n, half],
            [0n, half],
          ],
        }),
      ),
    ).toBe("EINVAL vfio-pci-dmabuf V14");
  });

  it("ENOTTY for another feature, and for kernels without the option", async () => {
    expect((await errorOf(() => call({ flags: 12 | GET }))).code).toBe("ENOTTY");
    expect((await errorOf(() => call({ built: false }))).code).toBe("ENOTTY");
  });
});

describe("success", () => {
  it("vfio-pci-dmabuf R1: argsz need not cover the ranges", async () => {
    expect(
      await call({
        argsz: 24,
        ranges: [
          [0n, PAGE],
          [PAGE, PAGE],
        ],
      }),
    ).toBe(0);
  });

  it("each range is read from its own place, little endian", async () => {
    const { device } = await rig({ bars: BARS });
    using fds = new FdTable();
    const list: readonly (readonly [bigint, bigint])[] = [
      [0x3000n, PAGE],
      [0x1000n, 2n * PAGE],
      [0x8000n, 3n * PAGE],
    ];
    const buffer = fds.peek(await deviceFeature(device, fds, encode({ ranges: list })));
    const importer = new DynamicImporter(buffer, fakeDevice("0000:3c:00.0"));
    const table = await importer.map();
    expect([...table].map(({ address, length }) => [address - 0x10_0000_0000n, length])).toEqual(
      list.map(([offset, length]) => [offset, Number(length)]),
    );
    await importer.leave();
  });

  it("vfio-pci-dmabuf R2: unknown open flags are ignored, O_CLOEXEC counts", async () => {
    const { device } = await rig();
    const fds = new FdTable();
    const plain = await deviceFeature(device, fds, encode({ openFlags: 0xfff7_ffff }));
    const closing = await deviceFeature(device, fds, encode({ openFlags: CLOEXEC }));
    expect([plain, closing]).toEqual([0, 1]);
    expect([fds.isCloseOnExec(plain), fds.isCloseOnExec(closing)]).toEqual([false, true]);
    // The file keeps O_ACCMODE and O_NONBLOCK (dma-buf R2).
    expect([fds.peek(plain).flags, fds.peek(closing).flags]).toEqual([0o4003, 0]);
    fds.close(plain);
    fds.close(closing);
    await settle();
    expect([device.buffers, device.registrations]).toEqual([0, 1]);
  });

  it("vfio-pci-dmabuf R3, R9: the size is the sum, and fdinfo names vfio_pci_core", async () => {
    const { device } = await rig();
    using fds = new FdTable();
    const fd = await deviceFeature(
      device,
      fds,
      encode({
        ranges: [
          [0n, PAGE],
          [0n, 2n * PAGE],
        ],
      }),
    );
    expect(fds.peek(fd).size).toBe(3n * PAGE);
    expect(fds.fdinfo(fd)).toContain("vfio_pci_core");
  });

  it("vfio-pci-dmabuf V22, known-bugs B5: no descriptor left: EMFILE, everything is undone once", async () => {
    const { device } = await rig();
    const error = await errorOf(() => deviceFeature(device, new FdTable({ limit: 0 }), encode({})));
    expect(error.code).toBe("EMFILE");
    await settle();
    expect([device.buffers, device.registrations]).toEqual([0, 1]);
    await device.close();
    expect(device.registrations).toBe(0);
  });

  it("EBADF on a closed device comes before everything", async () => {
    const { device } = await rig();
    await device.close();
    const error = await errorOf(() => deviceFeature(device, new FdTable(), new Uint8Array(0)));
    expect(error.code).toBe("EBADF");
  });
});
