import { describe, expect, it } from "vitest";
import {
  type Attachment,
  agree,
  DmaBuf,
  DmaBufError,
  type DmaBufEvent,
  type DmaDevice,
  type DmaDirection,
  type ExporterOps,
  FdTable,
  FenceContext,
  type Held,
  isDmaBufError,
  Lock,
  mapPhysVec,
  physAddr,
  Reservation,
  ScatterTable,
} from "../src/index.js";
import { told } from "./fixtures/expect-error.js";

const SIZE = 0x4000n;
const DEVICE: DmaDevice = { name: "nic", pciAddress: "0000:01:00.0", dmaMask: (1n << 64n) - 1n };
const DYNAMIC = { allowPeer2Peer: true, invalidateMappings: (): void => undefined };
const whole = (): ScatterTable => ScatterTable.fromSpans("bus", [{ pfn: 256, pages: 4 }]);

function makeOps(change: Partial<ExporterOps> = {}): ExporterOps {
  return {
    name: "test",
    offers: () => ["sgt"],
    map: whole,
    unmap: () => undefined,
    release: () => undefined,
    ...change,
  };
}

interface Stage {
  readonly buffer: DmaBuf;
  readonly attachment: Attachment;
  readonly held: Held;
  readonly events: DmaBufEvent[];
}

async function stage(change: Partial<ExporterOps> = {}): Promise<Stage> {
  const events: DmaBufEvent[] = [];
  const sink = { emit: (event: DmaBufEvent) => void events.push(event) };
  const buffer = DmaBuf.export({ ops: makeOps(change), size: SIZE, events: sink });
  const attachment = buffer.attach(DEVICE, DYNAMIC);
  return { buffer, attachment, held: await buffer.reservation.lock(), events };
}

type Row = readonly [what: string, action: (on: Stage) => unknown, expected: string];

const refusals: readonly Row[] = [
  [
    "export without map",
    () => DmaBuf.export({ ops: makeOps({ map: undefined as never }), size: SIZE }),
    "EINVAL dmabuf.export dma-buf R1",
  ],
  [
    "export with pin alone",
    () => DmaBuf.export({ ops: makeOps({ pin: () => undefined }), size: SIZE }),
    "EINVAL dmabuf.export dma-buf R1",
  ],
  [
    "export of half a page",
    () => DmaBuf.export({ ops: makeOps(), size: 0x800n }),
    "EINVAL dmabuf.export dma-buf R1",
  ],
  [
    "attach of no device",
    ({ buffer, held }) => {
      held.release();
      buffer.attach(undefined as never, DYNAMIC);
    },
    "EINVAL dmabuf.attach dma-buf R9",
  ],
  [
    "a name of 32 bytes",
    ({ buffer }) => {
      buffer.setName("x".repeat(32));
    },
    "EINVAL dmabuf.setName dma-buf R44",
  ],
  ["a seek to the middle", ({ buffer }) => buffer.seek(1n, 2), "EINVAL dmabuf.seek dma-buf R49"],
  ["a seek from here", ({ buffer }) => buffer.seek(0n, 1), "EINVAL dmabuf.seek dma-buf R49"],
  [
    "mmap of what has none",
    ({ buffer, held }) => {
      held.release();
      return buffer.mmap({ offset: 0n, length: 0x1000n });
    },
    "EINVAL dmabuf.mmap dma-buf R50",
  ],
  [
    "CPU access without direction",
    ({ buffer, held }) => {
      held.release();
      return buffer.beginCpuAccess("none" as DmaDirection);
    },
    "EINVAL dmabuf.beginCpuAccess dma-buf R41",
  ],
  [
    "its end without direction",
    ({ buffer, held }) => {
      held.release();
      return buffer.endCpuAccess("none" as DmaDirection);
    },
    "EINVAL dmabuf.endCpuAccess dma-buf R41",
  ],
  ["poll of nothing", ({ buffer }) => buffer.pollWait(0), "EINVAL dmabuf.poll -"],
  [
    "a sync file without access",
    ({ buffer }) => buffer.exportSyncFile("none" as "read"),
    "EINVAL dmabuf.exportSyncFile dma-buf R45",
  ],
  [
    "the last put with an attachment",
    ({ buffer }) => {
      buffer.close();
    },
    "ERR_PROTOCOL dmabuf.put dma-buf R6",
  ],
  [
    "a move of what was moved",
    ({ buffer }) => {
      buffer.move();
      buffer.move();
    },
    "EBADF dmabuf.move -",
  ],
  [
    "invalidate without the lock",
    ({ buffer, held }) => {
      held.release();
      buffer.invalidateMappings(held);
    },
    "ERR_PROTOCOL dmabuf.invalidateMappings dma-buf R16",
  ],
  [
    "vmap without the lock",
    ({ buffer, held }) => {
      held.release();
      buffer.vmap(held);
    },
    "ERR_PROTOCOL dmabuf.vmap dma-buf R16",
  ],
  [
    "vunmap without the lock",
    ({ buffer, held }) => {
      held.release();
      buffer.vunmap({} as never, held);
    },
    "ERR_PROTOCOL dmabuf.vunmap dma-buf R16",
  ],
  [
    "vunmap of no view",
    ({ buffer, held }) => {
      buffer.vunmap({} as never, held);
    },
    "ERR_PROTOCOL dmabuf.vunmap dma-buf R54",
  ],
  [
    "map without the lock",
    ({ attachment, held }) => {
      held.release();
      attachment.map("bidirectional", held);
    },
    "ERR_PROTOCOL attachment.map dma-buf R16",
  ],
  [
    "map with another lock",
    async ({ attachment }) => attachment.map("bidirectional", await new Reservation().lock()),
    "ERR_PROTOCOL attachment.map dma-buf R16",
  ],
  [
    "map without direction",
    ({ attachment, held }) => attachment.map("none" as DmaDirection, held),
    "EINVAL attachment.map -",
  ],
  [
    "unmap without the lock",
    ({ attachment, held }) => {
      held.release();
      attachment.unmap(whole(), "bidirectional", held);
    },
    "ERR_PROTOCOL attachment.unmap dma-buf R16",
  ],
  [
    "unmap of a foreign table",
    ({ attachment, held }) => {
      attachment.unmap(whole(), "bidirectional", held);
    },
    "ERR_PROTOCOL attachment.unmap dma-buf R25",
  ],
  [
    "unmap the other way",
    ({ attachment, held }) => {
      attachment.unmap(attachment.map("to-device", held), "from-device", held);
    },
    "ERR_PROTOCOL attachment.unmap dma-buf R25",
  ],
  [
    "pin without the lock",
    ({ attachment, held }) => {
      held.release();
      attachment.pin(held);
    },
    "ERR_PROTOCOL attachment.pin dma-buf R16",
  ],
  [
    "unpin of what is not pinned",
    ({ attachment, held }) => {
      attachment.unpin(held);
    },
    "ERR_PROTOCOL attachment.unpin dma-buf R20",
  ],
  [
    "open of what is not offered",
    ({ attachment, held }) => attachment.open("phys", held),
    "EOPNOTSUPP attachment.open -",
  ],
  [
    "negotiation of nothing common",
    ({ attachment }) => attachment.negotiate(["fd"]),
    "EOPNOTSUPP attachment.negotiate -",
  ],
  [
    "detach while mapped",
    ({ attachment, held }) => {
      attachment.map("bidirectional", held);
      attachment.detach();
    },
    "ERR_PROTOCOL attachment.detach dma-buf R14",
  ],
  [
    "peer-to-peer declined late",
    ({ attachment }) => {
      attachment.peer2peer = false;
    },
    "ERR_PROTOCOL attachment.peer2peer dma-buf R10",
  ],
  [
    "map after detach",
    ({ attachment, held }) => {
      attachment.detach();
      attachment.map("bidirectional", held);
    },
    "EBADF attachment.map -",
  ],
  [
    "unmap after detach",
    ({ attachment, held }) => {
      attachment.detach();
      attachment.unmap(whole(), "bidirectional", held);
    },
    "EBADF attachment.unmap -",
  ],
  [
    "pin after detach",
    ({ attachment, held }) => {
      attachment.detach();
      attachment.pin(held);
    },
    "EBADF attachment.pin -",
  ],
  [
    "unpin after detach",
    ({ attachment, held }) => {
      attachment.detach();
      attachment.unpin(held);
    },
    "EBADF attachment.unpin -",
  ],
  [
    "open after detach",
    ({ attachment, held }) => {
      attachment.detach();
      attachment.open("phys", held);
    },
    "EBADF attachment.open -",
  ],
  [
    "negotiation after detach",
    ({ attachment }) => {
      attachment.detach();
      attachment.negotiate(["sgt"]);
    },
    "EBADF attachment.negotiate -",
  ],
  [
    "no room for fences",
    ({ buffer, held }) => {
      buffer.reservation.reserveFences(held, 0);
    },
    "EINVAL reservation.reserveFences dma-buf R36",
  ],
  [
    "a fence without room",
    ({ buffer, held }) => {
      buffer.reservation.addFence(held, new FenceContext(1, "x").next(), "read");
    },
    "ERR_PROTOCOL reservation.addFence dma-buf R36",
  ],
  [
    "a negative timeout",
    ({ buffer }) => buffer.reservation.waitTimeout("read", -1),
    "EINVAL reservation.waitTimeout -",
  ],
];

describe("refusals", () => {
  it.each(refusals)("%s names errno, operation and rule", async (_what, action, expected) => {
    const on = await stage();
    expect(await told(() => action(on))).toBe(expected);
  });

  it("what holds a lock and asks for it again is told so, and others are sent to wait", async () => {
    const lock = new Lock("one");
    const sync = lock.lockNow();
    expect(await told(() => lock.lockNow())).toBe("EDEADLK lock -");
    sync.release();
    const held = await lock.lock();
    expect(await told(() => lock.lockNow())).toBe("EAGAIN lock -");
    expect([lock.tryLock(), lock.isLocked, lock.waiters]).toEqual([undefined, true, 0]);
    held.release();
    expect(lock.isLocked).toBe(false);
  });

  it("attach and detach inside the lock of the running code are a deadlock", async () => {
    const { buffer, attachment, held } = await stage();
    held.release();
    const now = buffer.reservation.lockNow();
    expect(await told(() => buffer.attach(DEVICE))).toBe("EDEADLK dmabuf.attach dma-buf R16");
    expect(
      await told(() => {
        attachment.detach();
      }),
    ).toBe("EDEADLK attachment.detach dma-buf R16");
    now.release();
  });

  it("inside an invalidation nothing is locked, attached, detached or invalidated again", async () => {
    const events: string[] = [];
    const buffer = DmaBuf.export({ ops: makeOps(), size: SIZE });
    const held = await buffer.reservation.lock();
    const inside: (() => unknown)[] = [];
    const attachment = buffer.attach(DEVICE, {
      allowPeer2Peer: true,
      invalidateMappings: () => {
        for (const action of inside) {
          try {
            action();
          } catch (error) {
            if (!isDmaBufError(error)) throw error;
            events.push(`${error.code} ${error.syscall} ${error.rule ?? "-"}`);
          }
        }
      },
    });
    inside.push(
      () => buffer.reservation.lockNow(),
      () => buffer.attach(DEVICE),
      () => {
        attachment.detach();
      },
      () => {
        buffer.invalidateMappings(held);
      },
    );
    buffer.invalidateMappings(held);
    expect(events).toEqual([
      "EDEADLK lock dma-buf R17",
      "EDEADLK dmabuf.attach dma-buf R17",
      "EDEADLK attachment.detach dma-buf R17",
      "ERR_PROTOCOL dmabuf.invalidateMappings dma-buf R27",
    ]);
  });

  it("the importer's first error comes out after all importers were told", async () => {
    const buffer = DmaBuf.export({ ops: makeOps(), size: SIZE });
    let told = 0;
    for (const code of ["EIO", "EBUSY"] as const) {
      buffer.attach(DEVICE, {
        allowPeer2Peer: true,
        invalidateMappings: () => {
          told += 1;
          throw new DmaBufError(code, "test", "broken");
        },
      });
    }
    const held = await buffer.reservation.lock();
    expect(() => {
      buffer.invalidateMappings(held);
    }).toThrow(expect.objectContaining({ code: "EIO" }));
    expect(told).toBe(2);
    buffer.reservation.assertHeld(held, "test");
  });

  it("an exporter's refusal is told as it is, with operation and errno in its event", async () => {
    const fail = (): never => {
      throw new DmaBufError("ENODEV", "test", "gone");
    };
    const { buffer, attachment, held, events } = await stage({ map: fail, pin: fail, unpin: fail });
    expect(await told(() => attachment.map("bidirectional", held))).toBe("ENODEV test -");
    expect(
      await told(() => {
        attachment.pin(held);
      }),
    ).toBe("ENODEV test -");
    expect([attachment.mappings, attachment.pins]).toEqual([0, 0]);
    expect(events.filter(({ type }) => type === "refuse")).toEqual(
      ["map", "pin"].map((operation) => ({
        type: "refuse",
        buffer: "test",
        inode: buffer.inode,
        operation,
        attachment: "nic.1",
        code: "ENODEV",
      })),
    );
  });

  it("an exporter that gives no table is ENOMEM", async () => {
    const { attachment, held } = await stage({ map: () => undefined as never });
    expect(await told(() => attachment.map("bidirectional", held))).toBe(
      "ENOMEM attachment.map dma-buf R21",
    );
  });

  it("after release every operation is EBADF under its own name", async () => {
    const buffer = DmaBuf.export({ ops: makeOps(), size: SIZE });
    buffer.close();
    const operations: readonly (readonly [string, () => unknown])[] = [
      ["dmabuf.get", () => buffer.get()],
      ["dmabuf.attach", () => buffer.attach(DEVICE)],
      [
        "dmabuf.setName",
        () => {
          buffer.setName("x");
        },
      ],
      ["dmabuf.seek", () => buffer.seek(0n, 2)],
      ["dmabuf.poll", () => buffer.poll(1)],
      ["dmabuf.poll", () => buffer.pollWait(1)],
      ["dmabuf.mmap", () => buffer.mmap({ offset: 0n, length: 0x1000n })],
      ["dmabuf.beginCpuAccess", () => buffer.beginCpuAccess("to-device")],
      ["dmabuf.endCpuAccess", () => buffer.endCpuAccess("to-device")],
      ["dmabuf.exportSyncFile", () => buffer.exportSyncFile("read")],
    ];
    for (const [syscall, action] of operations) {
      expect(await told(action)).toBe(`EBADF ${syscall} -`);
    }
  });
});

describe("descriptors", () => {
  it("closed, reserved and foreign ones are refused by name of the operation", async () => {
    const fds = new FdTable();
    const other = fds.reserve();
    fds.install(other, { description: "a socket" });
    const reserved = fds.reserve();
    const rows: readonly (readonly [string, () => unknown])[] = [
      [
        "EBADF close dma-buf R5",
        () => {
          fds.close(reserved);
        },
      ],
      ["EBADF fcntl dma-buf R5", () => fds.isCloseOnExec(9)],
      ["EBADF fdinfo dma-buf R5", () => fds.fdinfo(9)],
      ["EINVAL fdinfo dma-buf R5", () => fds.fdinfo(other)],
      ["EINVAL readlink dma-buf R5", () => fds.readlink(other)],
      ["EINVAL fdtable dma-buf R5", () => fds.peek(other)],
      ["EINVAL dmabuf.fd dma-buf R3", () => fds.fd(undefined)],
      [
        "ERR_PROTOCOL fdtable.unreserve dma-buf R4",
        () => {
          fds.unreserve(other);
        },
      ],
      [
        "ERR_PROTOCOL fdtable.install dma-buf R4",
        () => {
          fds.install(9, { description: "x" });
        },
      ],
      ["EMFILE fdtable -", () => new FdTable({ limit: 0 }).reserve()],
      ["EINVAL fdtable -", () => new FdTable({ limit: -1 })],
    ];
    for (const [expected, action] of rows) expect(await told(action)).toBe(expected);
    expect(fds.open).toEqual([other]);
    fds.unreserve(reserved);
    expect(fds.reserve()).toBe(reserved);
  });
});

describe("tables and ranges", () => {
  it("what makes no list is refused", async () => {
    const bus = { kind: "bus", busOffset: 0n } as const;
    const range = (length: bigint) => [{ start: physAddr(0x1000n), length }];
    expect(await told(() => mapPhysVec(DEVICE, bus, [], "to-device"))).toBe("EINVAL dmabuf.map -");
    expect(await told(() => mapPhysVec(DEVICE, bus, range(0n), "to-device"))).toBe(
      "EINVAL dmabuf.map dma-buf R23",
    );
    expect(await told(() => mapPhysVec(DEVICE, bus, range(1n), "to-device"))).toBe(
      "EINVAL dmabuf.map dma-buf R23",
    );
    const through = { kind: "host-bridge" } as const;
    expect(await told(() => mapPhysVec(DEVICE, through, range(0x1000n), "to-device"))).toBe(
      "EOPNOTSUPP dmabuf.map -",
    );
    expect(await told(() => ScatterTable.fromSpans("bus", []))).toBe(
      "EINVAL scatterlist vfio-pci-dmabuf R34",
    );
    expect(await told(() => new ScatterTable("bus", new Float64Array(1), new Uint32Array(2)))).toBe(
      "EINVAL scatterlist -",
    );
  });

  it("an agreement takes the importer's order and names both lists where there is none", async () => {
    expect(agree(["phys", "sgt"], ["sgt", "phys"], "test")).toBe("phys");
    expect(await told(() => agree(["fd"], ["sgt"], "test"))).toBe("EOPNOTSUPP test -");
  });
});
