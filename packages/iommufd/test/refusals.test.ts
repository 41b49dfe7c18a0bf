import { ADDRESS_LIMIT, type DmaBufError, iova, isDmaBufError, physAddr } from "@peerbar/core";
import { describe, expect, it } from "vitest";
import { type Ioas, Iommufd, type IommufdAccess } from "../src/index.js";
import { FakeBackend } from "./fixtures/backend.js";
import { FakeExporter, fakeDevice } from "./fixtures/exporter.js";

const MAX = ADDRESS_LIMIT - 1n;
const PAGE = 0x1000n;
const slice = { offset: 0n, length: PAGE };

interface World {
  readonly iommufd: Iommufd;
  readonly ioas: Ioas;
  readonly other: Ioas;
  readonly access: IommufdAccess;
  readonly exporter: FakeExporter;
}

/** One page at 0x10000 for reading, one at 0x20000 for both. */
async function world(): Promise<World> {
  const iommufd = new Iommufd(new FakeBackend());
  const [ioas, other] = [iommufd.allocIoas(), iommufd.allocIoas()];
  const exporter = new FakeExporter();
  const map = (at: bigint, access: "r" | "rw") =>
    ioas.mapDmaBuf(exporter.buffer, { slice, iova: iova(at), access });
  await map(0x1_0000n, "r");
  await map(0x2_0000n, "rw");
  return { iommufd, ioas, other, access: ioas.createAccess(), exporter };
}

async function refusal(action: () => unknown): Promise<DmaBufError> {
  try {
    await action();
  } catch (error) {
    if (isDmaBufError(error)) return error;
    throw error;
  }
  throw new Error("nothing was refused");
}

const device = fakeDevice("a");
const copy = (world: World, from: bigint, length: bigint, access: "r" | "rw" = "r", at?: bigint) =>
  world.other.copy(world.ioas, iova(from), length, {
    access,
    iova: at === undefined ? undefined : iova(at),
  });
const mapping = (world: World, change: Partial<typeof slice>, at = 0x5_0000n) =>
  world.ioas.mapDmaBuf(world.exporter.buffer, {
    slice: { ...slice, ...change },
    iova: iova(at),
    access: "rw",
  });

type Row = readonly [what: string, (world: World) => unknown, expected: string];

const refusals: readonly Row[] = [
  ["an unknown id", ({ iommufd }) => iommufd.get(99), "ENOENT iommufd.object iommufd R2"],
  [
    "an id of another kind",
    ({ iommufd, ioas }) => iommufd.get(ioas.id, "hwpt"),
    "ENOENT iommufd.object iommufd R2",
  ],
  [
    "hwpt flags",
    ({ ioas }) => ioas.allocHwpt(device, { flags: 1 }),
    "EOPNOTSUPP iommufd.allocHwpt iommufd R29",
  ],
  [
    "a page table of another space",
    ({ ioas, other }) => ioas.attach(device, other.allocHwpt(device)),
    "EINVAL iommufd.attach iommufd R29",
  ],
  [
    "detach of a stranger",
    ({ ioas }) => {
      ioas.detach(device);
    },
    "EINVAL iommufd.detach -",
  ],
  [
    "replace of a stranger",
    ({ ioas }) => {
      ioas.replace(device);
    },
    "EINVAL iommufd.replace -",
  ],
  [
    "detach from another space",
    ({ ioas, other }) => {
      ioas.attach(device);
      other.detach(device);
    },
    "EINVAL iommufd.detach -",
  ],
  [
    "a page table in use",
    ({ ioas }) => {
      ioas.attach(device).free();
    },
    "EBUSY iommufd.freeHwpt -",
  ],
  ["destroy of a space in use", ({ ioas }) => ioas.destroy(), "EBUSY iommufd.destroy iommufd R2"],
  [
    "change of process",
    ({ iommufd }) => {
      iommufd.changeProcess();
    },
    "EINVAL iommufd.changeProcess iommufd section 5",
  ],
  ["map of no bytes", (it) => mapping(it, { length: 0n }), "EINVAL iommufd.map iommufd M5"],
  ["map below 0", (it) => mapping(it, { offset: -PAGE }), "EOVERFLOW iommufd.map iommufd M6"],
  ["map past 2^64", (it) => mapping(it, { offset: MAX }), "EOVERFLOW iommufd.map iommufd M6"],
  [
    "map past the buffer",
    (it) => mapping(it, { length: 0x20_0000n }),
    "EINVAL iommufd.map iommufd M8",
  ],
  ["map at ULONG_MAX", (it) => mapping(it, {}, MAX), "EOVERFLOW iommufd.map iommufd M2"],
  ["unmap of no bytes", ({ ioas }) => ioas.unmap(iova(0n), 0n), "EINVAL iommufd.unmap iommufd R23"],
  [
    "unmap at ULONG_MAX",
    ({ ioas }) => ioas.unmap(iova(MAX), PAGE),
    "EOVERFLOW iommufd.unmap iommufd R23",
  ],
  [
    "unmap that wraps",
    ({ ioas }) => ioas.unmap(iova(MAX - 1n), 3n),
    "EOVERFLOW iommufd.unmap iommufd R23",
  ],
  [
    "unmap up to the very end",
    ({ ioas }) => ioas.unmap(iova(MAX - 1n), 2n),
    "ENOENT iommufd.unmap iommufd R23",
  ],
  [
    "unmap of a hole",
    ({ ioas }) => ioas.unmap(iova(0x3_0000n), PAGE),
    "ENOENT iommufd.unmap iommufd R23",
  ],
  ["copy of a hole", (it) => copy(it, 0x3_0000n, PAGE), "ENOENT iommufd.copy iommufd R24"],
  ["copy past an area", (it) => copy(it, 0x1_0000n, 2n * PAGE), "ENOENT iommufd.copy iommufd R24"],
  ["copy of no bytes", (it) => copy(it, 0x1_0000n, 0n), "EINVAL iommufd.copy iommufd R24"],
  ["copy from ULONG_MAX", (it) => copy(it, MAX, PAGE), "EOVERFLOW iommufd.copy iommufd R24"],
  [
    "copy to ULONG_MAX",
    (it) => copy(it, 0x1_0000n, PAGE, "r", MAX),
    "EOVERFLOW iommufd.copy iommufd R24",
  ],
  [
    "copy of ULONG_MAX bytes",
    (it) => copy(it, 0x1_0000n, MAX),
    "EOVERFLOW iommufd.copy iommufd R24",
  ],
  ["copy that wraps", (it) => copy(it, MAX - 1n, 3n), "EOVERFLOW iommufd.copy iommufd R24"],
  ["copy up to the very end", (it) => copy(it, MAX - 1n, 2n), "ENOENT iommufd.copy iommufd R24"],
  [
    "copy without access",
    (it) => copy(it, 0x1_0000n, PAGE, "" as "r"),
    "EINVAL iommufd.copy iommufd R24",
  ],
  ["copy that widens", (it) => copy(it, 0x1_0000n, PAGE, "rw"), "EPERM iommufd.copy iommufd R24"],
  [
    "pin of no bytes",
    ({ access }) => access.pinPages(iova(0x2_0000n), 0n, { write: false }),
    "EINVAL iommufd.access.pinPages -",
  ],
  [
    "pin below 0",
    ({ access }) => access.pinPages(iova(-PAGE), PAGE, { write: false }),
    "EOVERFLOW iommufd.access.pinPages -",
  ],
  [
    "pin past 2^64",
    ({ access }) => access.pinPages(iova(MAX), 2n, { write: false }),
    "EOVERFLOW iommufd.access.pinPages -",
  ],
  [
    "pin up to 2^64",
    ({ access }) => access.pinPages(iova(MAX), 1n, { write: false }),
    "ENOENT iommufd.access.pinPages iommufd section 5",
  ],
  [
    "pin at 0",
    ({ access }) => access.pinPages(iova(0n), 1n, { write: false }),
    "ENOENT iommufd.access.pinPages iommufd section 5",
  ],
  [
    "pin for writing",
    ({ access }) => access.pinPages(iova(0x1_0000n), PAGE, { write: true }),
    "EPERM iommufd.access.pinPages iommufd section 5",
  ],
  [
    "pin for reading",
    ({ access }) => access.pinPages(iova(0x1_0000n), PAGE, { write: false }),
    "EINVAL iommufd.access.pinPages iommufd section 5",
  ],
  [
    "rw for writing",
    ({ access }) => access.rw(iova(0x2_0000n), new Uint8Array(8), { write: true }),
    "EINVAL iommufd.access.rw iommufd section 5",
  ],
  [
    "pin after close",
    ({ access }) => {
      access.close();
      access.close();
      return access.pinPages(iova(0x1_0000n), PAGE, { write: false });
    },
    "EBADF iommufd.access.pinPages -",
  ],
];

describe("refusals", () => {
  it.each(refusals)("%s names errno, operation and rule", async (_what, action, expected) => {
    const it = await world();
    const { code, syscall, rule } = await refusal(() => action(it));
    expect(`${code} ${syscall} ${rule ?? "-"}`).toBe(expected);
  });

  it("part of a write to read-only memory is EPERM too", async () => {
    const { ioas, exporter, access } = await world();
    await ioas.mapDmaBuf(exporter.buffer, { slice, iova: iova(0x1_1000n), access: "rw" });
    const { code } = await refusal(() =>
      access.pinPages(iova(0x1_0000n), 2n * PAGE, { write: true }),
    );
    expect(code).toBe("EPERM");
    const both = await refusal(() => ioas.copy(ioas, iova(0x1_0000n), 2n * PAGE, { access: "rw" }));
    expect(both.code).toBe("EPERM");
  });

  it("the first area decides, not a hole behind it", async () => {
    const { access } = await world();
    const over = (write: boolean) => () => access.pinPages(iova(0x1_0000n), 64n * PAGE, { write });
    expect((await refusal(over(false))).code).toBe("EINVAL");
    expect((await refusal(over(true))).code).toBe("EPERM");
  });

  it("iommufd R10: an exporter that hands over less than the slice needs is EINVAL", async () => {
    const { ioas } = await world();
    const short = new FakeExporter({
      size: 0x4000n,
      ranges: [{ start: physAddr(0x1_0000_0000n), length: 0x2000n }],
    });
    const part = (offset: bigint) =>
      ioas.mapDmaBuf(short.buffer, { slice: { offset, length: PAGE }, access: "r" });
    const error = await refusal(() => part(0x2000n));
    expect(`${error.code} ${error.syscall} ${error.rule ?? "-"}`).toBe(
      "EINVAL iommufd.map iommufd R10",
    );
    await part(PAGE);
  });

  it("iommufd M15: no range is refused as two are", async () => {
    const { ioas } = await world();
    const none = new FakeExporter({ ranges: [] });
    const error = await refusal(() => ioas.mapDmaBuf(none.buffer, { slice, access: "r" }));
    expect(`${error.code} ${error.syscall} ${error.rule ?? "-"}`).toBe(
      "EOPNOTSUPP iommufd.map iommufd M15",
    );
  });
});

describe("after the end", () => {
  const ofIoas: readonly (readonly [string, (ioas: Ioas) => unknown])[] = [
    [
      "iommufd.allow",
      (ioas) => {
        ioas.allow([]);
      },
    ],
    ["iommufd.attach", (ioas) => ioas.attach(device)],
    ["iommufd.replace", (ioas) => ioas.replace(device)],
    [
      "iommufd.detach",
      (ioas) => {
        ioas.detach(device);
      },
    ],
    ["iommufd.allocHwpt", (ioas) => ioas.allocHwpt(device)],
    ["iommufd.createAccess", (ioas) => ioas.createAccess()],
    ["iommufd.map", (ioas) => ioas.mapDmaBuf(new FakeExporter().buffer, { slice, access: "r" })],
    ["iommufd.copy", (ioas) => ioas.copy(ioas, iova(0n), PAGE, { access: "r" })],
    ["iommufd.unmap", (ioas) => ioas.unmap(iova(0n), PAGE)],
    ["iommufd.unmap", (ioas) => ioas.unmapAll()],
  ];

  it.each(ofIoas)("%s of a closed address space is EBADF", async (syscall, action) => {
    const { ioas } = await world();
    await ioas.close();
    await ioas.close();
    const error = await refusal(() => action(ioas));
    expect([error.code, error.syscall]).toEqual(["EBADF", syscall]);
    await ioas.destroy();
  });

  it("a copy out of a closed address space is EBADF", async () => {
    const { ioas, other } = await world();
    await ioas.close();
    const error = await refusal(() => other.copy(ioas, iova(0x1_0000n), PAGE, { access: "r" }));
    expect([error.code, error.syscall]).toEqual(["EBADF", "iommufd.copy"]);
  });

  const ofIommufd: readonly (readonly [string, (iommufd: Iommufd) => unknown])[] = [
    ["iommufd.allocIoas", (iommufd) => iommufd.allocIoas()],
    ["iommufd.bind", (iommufd) => iommufd.bind(device)],
    ["iommufd.get", (iommufd) => iommufd.get(1)],
    ["iommufd.ioas", (iommufd) => iommufd.ioas(1)],
    [
      "iommufd.changeProcess",
      (iommufd) => {
        iommufd.changeProcess();
      },
    ],
  ];

  it.each(ofIommufd)("%s of a closed iommufd is EBADF", async (syscall, action) => {
    const { iommufd, ioas, exporter } = await world();
    await iommufd.close();
    await iommufd.close();
    const error = await refusal(() => action(iommufd));
    expect([error.code, error.syscall]).toEqual(["EBADF", syscall]);
    expect([ioas.areaCount, exporter.attachments]).toEqual([0, 0]);
  });
});
