import { describe, expect, it } from "vitest";
import { findCapability, findExtendedCapability, pciRegs } from "../src/index.js";

/** Configuration space of `length` bytes with these values in it: offset, size, value. */
function config(length: number, ...values: (readonly [number, 1 | 2 | 4, number])[]) {
  const bytes = new DataView(new ArrayBuffer(4096));
  for (const [at, size, value] of values) {
    if (size === 1) bytes.setUint8(at, value);
    else if (size === 2) bytes.setUint16(at, value, true);
    else bytes.setUint32(at, value, true);
  }
  const read = (at: number, size: 1 | 2 | 4) => {
    if (at + size > length) return undefined;
    if (size === 1) return bytes.getUint8(at);
    return size === 2 ? bytes.getUint16(at, true) : bytes.getUint32(at, true);
  };
  return { read };
}

const LISTED = [pciRegs.PCI_STATUS, 2, pciRegs.PCI_STATUS_CAP_LIST] as const;
const first = (at: number) => [pciRegs.PCI_CAPABILITY_LIST, 1, at] as const;
/** A capability at an offset, and the next one. */
const capability = (at: number, id: number, next: number) => [at, 2, id | (next << 8)] as const;
const extended = (at: number, id: number, next: number) =>
  [at, 4, (next * 2 ** 20 + 0x1_0000 + id) >>> 0] as const;

const { PCI_CAP_ID_EXP, PCI_CAP_ID_PM, PCI_EXT_CAP_ID_ACS, PCI_EXT_CAP_ID_SRIOV } = pciRegs;

describe("findCapability", () => {
  const list = [LISTED, first(0x41), capability(0x40, PCI_CAP_ID_PM, 0x53)] as const;

  it("follows the list, without the two low bits of its pointers", () => {
    const space = config(256, ...list, capability(0x50, PCI_CAP_ID_EXP, 0));
    expect(findCapability(space, PCI_CAP_ID_PM)).toBe(0x40);
    expect(findCapability(space, PCI_CAP_ID_EXP)).toBe(0x50);
    expect(findCapability(space, pciRegs.PCI_CAP_ID_AF)).toBe("none");
  });

  it("tells a list that ends from one that is not shown so far (p2pdma R29)", () => {
    expect(findCapability(config(64, ...list), PCI_CAP_ID_PM)).toBe("unseen");
    expect(findCapability(config(0x42, ...list), PCI_CAP_ID_PM)).toBe(0x40);
    expect(findCapability(config(0x42, ...list), PCI_CAP_ID_EXP)).toBe("unseen");
    expect(findCapability(config(6), PCI_CAP_ID_PM)).toBe("unseen");
    expect(findCapability(config(64), PCI_CAP_ID_PM)).toBe("none");
  });

  it("starts elsewhere for a CardBus bridge, and nowhere for a layout that nobody knows", () => {
    const start = [pciRegs.PCI_CB_CAPABILITY_LIST, 1, 0x60] as const;
    const power = capability(0x60, PCI_CAP_ID_PM, 0);
    const layout = (type: number) => [pciRegs.PCI_HEADER_TYPE, 1, type] as const;
    const find = (type: number) =>
      findCapability(config(256, LISTED, layout(type), start, power), PCI_CAP_ID_PM);
    expect(find(0x82)).toBe(0x60);
    expect(find(0x01)).toBe("none");
    expect(find(0x03)).toBe("unseen");
  });

  it("ends at a function that does not answer, and in a loop (p2pdma R31)", () => {
    const gone = config(256, LISTED, first(0x40), [0x40, 2, 0xffff], capability(0xfc, 1, 0));
    expect(findCapability(gone, PCI_CAP_ID_PM)).toBe("none");
    const loop = config(256, LISTED, first(0x40), capability(0x40, 0x09, 0x40));
    expect(findCapability(loop, PCI_CAP_ID_PM)).toBe("none");
  });

  it("looks at 48 entries, no more (p2pdma R31)", () => {
    const entries = (count: number) =>
      Array.from({ length: count }, (_, i) => capability(0x40 + 4 * i, 0x09, 0x44 + 4 * i));
    const last = (count: number) => capability(0x40 + 4 * count, PCI_CAP_ID_PM, 0);
    const find = (before: number) =>
      findCapability(
        config(4096, LISTED, first(0x40), ...entries(before), last(before)),
        PCI_CAP_ID_PM,
      );
    expect(find(47)).toBe(0xfc);
    // The last entry points back to the first.
    const round = config(256, LISTED, first(0x40), ...entries(47), capability(0xfc, 0x09, 0x40));
    expect(findCapability(round, PCI_CAP_ID_PM)).toBe("none");
  });
});

describe("findExtendedCapability", () => {
  it("follows the list behind conventional configuration space", () => {
    const space = config(
      4096,
      extended(0x100, PCI_EXT_CAP_ID_ACS, 0x143),
      extended(0x140, PCI_EXT_CAP_ID_SRIOV, 0),
    );
    expect(findExtendedCapability(space, PCI_EXT_CAP_ID_ACS)).toBe(0x100);
    expect(findExtendedCapability(space, PCI_EXT_CAP_ID_SRIOV)).toBe(0x140);
    expect(findExtendedCapability(space, 0x1)).toBe("none");
  });

  it("tells a list that ends from one that is not shown so far (p2pdma R29)", () => {
    const space = config(0x104, extended(0x100, PCI_EXT_CAP_ID_ACS, 0x140));
    expect(findExtendedCapability(space, PCI_EXT_CAP_ID_ACS)).toBe(0x100);
    expect(findExtendedCapability(space, PCI_EXT_CAP_ID_SRIOV)).toBe("unseen");
    expect(findExtendedCapability(config(256), PCI_EXT_CAP_ID_ACS)).toBe("unseen");
  });

  it("finds nothing where the first header is all zeros or all ones, and ends in a loop (p2pdma R31)", () => {
    for (const header of [0, 0xffff_ffff]) {
      expect(findExtendedCapability(config(4096, [0x100, 4, header]), 0xffff)).toBe("none");
    }
    const loop = config(4096, extended(0x100, 0x2, 0x100));
    expect(findExtendedCapability(loop, PCI_EXT_CAP_ID_ACS)).toBe("none");
  });
});
