import { describe, expect, it } from "vitest";
import { activeVfs, findCapabilities } from "../src/capabilities.js";
import { AF, EXPRESS, FakeFunction, PM } from "./fixtures/fake-function.js";

const SRIOV = 0x100;

/** A function whose capability list is exactly this: where, id, next. */
function listed(first: number, ...entries: (readonly [number, number, number])[]): FakeFunction {
  const fn = new FakeFunction({ capabilities: [] });
  fn.set(6, 2, 0x10);
  fn.set(0x34, 1, first);
  for (const [at, id, next] of entries) fn.set(at, 2, id | (next << 8));
  return fn;
}

/** The same with an extended list: where, id, next. */
function extended(...entries: (readonly [number, number, number])[]): FakeFunction {
  const fn = listed(EXPRESS, [EXPRESS, 0x10, 0]);
  for (const [at, id, next] of entries) fn.set(at, 4, (next * 2 ** 20 + 0x1_0000 + id) >>> 0);
  return fn;
}

describe("the capability list", () => {
  it("gives the place of each capability that vfio-pci acts on", () => {
    expect(findCapabilities(new FakeFunction())).toEqual({
      pm: PM,
      express: EXPRESS,
      af: AF,
      sriov: SRIOV,
    });
    const none = { pm: undefined, express: undefined, af: undefined, sriov: undefined };
    expect(findCapabilities(new FakeFunction({ capabilities: [] }))).toEqual(none);
  });

  it("is not walked where the status register says there is none", () => {
    const fn = listed(PM, [PM, 0x01, 0]);
    expect(findCapabilities(fn).pm).toBe(PM);
    fn.set(6, 2, 0xffef);
    expect(findCapabilities(fn).pm).toBeUndefined();
  });

  it("ends at a pointer into the header, whatever stands there", () => {
    const fn = listed(PM, [PM, 0x01, 0x00]);
    fn.set(0, 2, 0x0013);
    expect(findCapabilities(fn)).toMatchObject({ pm: PM, af: undefined });
    const low = listed(0x3c, [0x3c, 0x01, 0]);
    expect(findCapabilities(low).pm).toBeUndefined();
  });

  it("takes the first of two with one id, and ignores the two low bits of a pointer", () => {
    const fn = listed(0x43, [0x40, 0x01, 0x63], [0x60, 0x01, 0x72], [0x70, 0x13, 0]);
    expect(findCapabilities(fn)).toMatchObject({ pm: 0x40, af: 0x70 });
  });

  it("ends where the function does not answer, and where it loops (p2pdma R31)", () => {
    const gone = listed(0x60, [0x60, 0xff, 0x70], [0x70, 0x01, 0]);
    expect(findCapabilities(gone).pm).toBeUndefined();
    const loop = listed(0x60, [0x60, 0x09, 0x70], [0x70, 0x01, 0x60]);
    expect(findCapabilities(loop)).toMatchObject({ pm: 0x70, af: undefined });
  });
});

describe("the extended list", () => {
  it("is walked to SR-IOV, of PCI Express functions alone", () => {
    const fn = extended([0x100, 0x0001, 0x148], [0x148, 0x0003, 0x160], [0x160, 0x0010, 0]);
    expect(findCapabilities(fn).sriov).toBe(0x160);
    fn.set(0x34, 1, 0);
    expect(findCapabilities(fn).sriov).toBeUndefined();
  });

  it("ends at 0, at all ones, and where it points back into the first 256 bytes", () => {
    expect(findCapabilities(extended()).sriov).toBeUndefined();
    const gone = extended([0xffc, 0x0010, 0]);
    gone.set(0x100, 4, 0xffff_ffff);
    expect(findCapabilities(gone).sriov).toBeUndefined();
    const back = extended([0x100, 0x0001, 0xc0], [0xc0, 0x0010, 0]);
    expect(findCapabilities(back).sriov).toBeUndefined();
  });

  it("has 480 entries at most, loops included (p2pdma R31)", () => {
    const chain = (length: number) =>
      Array.from({ length }, (_, i) => {
        const at = 0x100 + 4 * i;
        const last = i === length - 1;
        return [at, last ? 0x0010 : 0x0001, last ? 0 : at + 4] as const;
      });
    expect(findCapabilities(extended(...chain(480))).sriov).toBe(0x100 + 4 * 479);
    expect(findCapabilities(extended(...chain(481))).sriov).toBeUndefined();
    const loop = extended([0x100, 0x0001, 0x148], [0x148, 0x0003, 0x100]);
    expect(findCapabilities(loop).sriov).toBeUndefined();
  });
});

describe("virtual functions (pci_num_vf)", () => {
  it("count while VF Enable is set, and only where there is SR-IOV", () => {
    const fn = new FakeFunction();
    const capabilities = findCapabilities(fn);
    fn.enableVfs(7);
    expect(activeVfs(fn, capabilities)).toBe(7);
    fn.set(SRIOV + 8, 2, 0xfffe);
    expect(activeVfs(fn, capabilities)).toBe(0);
    fn.set(SRIOV + 8, 2, 1);
    expect(activeVfs(fn, { ...capabilities, sriov: undefined })).toBe(0);
  });
});
