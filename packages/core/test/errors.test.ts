import { constants } from "node:os";
import { describe, expect, it } from "vitest";
import {
  DmaBufError,
  errnos,
  hex,
  isDmaBufError,
  isDmaDirection,
  ProtocolViolation,
} from "../src/index.js";
import { utf8Length } from "../src/uapi.js";

/** Linux numbers that Node has no name for (include/uapi/asm-generic/errno.h). */
const unnamed: Readonly<Record<string, number>> = { EBADFD: 77, EREMOTEIO: 121 };

describe("error numbers", () => {
  // Elsewhere Node's constants are those of another kernel, so there is nothing to compare with.
  it.runIf(process.platform === "linux")("are Linux's, negative (compared on Linux alone)", () => {
    const known = { ...unnamed, ...constants.errno } as Readonly<Record<string, number>>;
    const wrong = Object.entries(errnos).filter(
      ([name, number]) => number !== -(known[name] ?? NaN),
    );
    expect(wrong).toEqual([]);
    expect(Object.keys(errnos).length).toBeGreaterThan(40);
  });
});

describe("a DmaBufError", () => {
  it("has its parts beside its message, and the number of its code", () => {
    const cause = new Error("below");
    const error = new DmaBufError("ENODEV", "dmabuf.map", "it is gone", {
      hint: "open it again",
      rule: "vfio-pci-dmabuf R12",
      cause,
    });
    expect(error).toMatchObject({
      name: "DmaBufError",
      code: "ENODEV",
      errno: -19,
      syscall: "dmabuf.map",
      reason: "it is gone",
      hint: "open it again",
      rule: "vfio-pci-dmabuf R12",
      message: "ENODEV: dmabuf.map: it is gone",
    });
    expect(error.cause).toBe(cause);
    const bare = new DmaBufError("EINVAL", "x", "y");
    expect(["cause" in bare, bare.hint, bare.rule, bare.errno]).toEqual([
      false,
      undefined,
      undefined,
      -22,
    ]);
  });

  it("of a broken contract has a rule, and a number only where the kernel has one", () => {
    const broken = new ProtocolViolation("dma-buf R16", "attachment.map", "not held");
    expect(broken).toMatchObject({
      name: "ProtocolViolation",
      code: "ERR_PROTOCOL",
      errno: undefined,
      rule: "dma-buf R16",
      reason: "not held (dma-buf R16)",
      hint: undefined,
    });
    const deadlock = new ProtocolViolation("dma-buf R17", "lock", "held", {
      code: "EDEADLK",
      hint: "use the proof",
    });
    expect([deadlock.code, deadlock.errno, deadlock.hint]).toEqual([
      "EDEADLK",
      -35,
      "use the proof",
    ]);
  });

  it("is known by its brand, of another copy of this package too, and nothing else is", () => {
    expect(isDmaBufError(new ProtocolViolation("r", "s", "t"))).toBe(true);
    expect(isDmaBufError({ [Symbol.for("peerbar.DmaBufError")]: true })).toBe(true);
    for (const value of [new Error("no"), {}, null, undefined, "EINVAL", 22]) {
      expect(isDmaBufError(value)).toBe(false);
    }
  });
});

describe("small things every package uses", () => {
  it("hexadecimal text keeps the sign in front", () => {
    expect([hex(0x1f000n), hex(-0x1000n), hex(255), hex(-1), hex(0n)]).toEqual([
      "0x1f000",
      "-0x1000",
      "0xff",
      "-0x1",
      "0x0",
    ]);
  });

  it("three directions, and DMA_NONE is none of them", () => {
    const all = ["bidirectional", "to-device", "from-device", "none", "", undefined];
    expect(all.map((value) => isDmaDirection(value))).toEqual([
      ...[true, true, true],
      ...[false, false, false],
    ]);
  });

  it("bytes of UTF-8 change at U+80, U+800 and U+10000", () => {
    const points = [0x0, 0x7f, 0x80, 0x7ff, 0x800, 0xffff, 0x1_0000, 0x10_ffff];
    const texts = points.map((point) => String.fromCodePoint(point));
    expect(texts.map(utf8Length)).toEqual([1, 1, 2, 2, 3, 3, 4, 4]);
    expect(texts.map((text) => new TextEncoder().encode(text).length)).toEqual(
      texts.map(utf8Length),
    );
    expect(utf8Length(texts.join(""))).toBe(20);
  });
});
