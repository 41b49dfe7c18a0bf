import { isDmaBufError } from "@peerbar/core";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { iommufd, iommufdTest, type ScalarKind, type Struct, struct, vfio } from "../src/index.js";

const codeOf = (call: () => unknown): string | undefined => {
  try {
    call();
  } catch (error) {
    if (isDmaBufError(error)) return error.code;
    throw error;
  }
  return undefined;
};

const ranges: Record<ScalarKind, readonly [bigint, bigint]> = {
  u8: [0n, 0xffn],
  u16: [0n, 0xffffn],
  u32: [0n, 0xffff_ffffn],
  s32: [-0x8000_0000n, 0x7fff_ffffn],
  u64: [0n, 0xffff_ffff_ffff_ffffn],
  s64: [-(2n ** 63n), 2n ** 63n - 1n],
};
const kinds = Object.keys(ranges) as ScalarKind[];
const wide = (kind: ScalarKind): boolean => kind === "u64" || kind === "s64";

const layouts = fc.array(fc.constantFrom(...kinds), { minLength: 1, maxLength: 12 });

describe("struct", () => {
  test("every field comes back as it went in, and only its own bytes change", () => {
    fc.assert(
      fc.property(layouts, fc.infiniteStream(fc.bigInt(0n, 2n ** 64n - 1n)), (chosen, stream) => {
        const made: Struct = struct(
          "s",
          chosen.map((kind, index) => [`f${index}`, kind] as const),
        );
        const values: Record<string, number | bigint> = {};
        for (const [index, kind] of chosen.entries()) {
          const [low, high] = ranges[kind];
          const value = low + ((stream.next().value as bigint) % (high - low + 1n));
          values[`f${index}`] = wide(kind) ? value : Number(value);
        }
        const bytes = new Uint8Array(made.size + 8).fill(0xaa);
        made.encode(values, bytes);
        expect(made.decode(bytes)).toEqual(values);
        expect(bytes.subarray(made.size)).toEqual(new Uint8Array(8).fill(0xaa));
      }),
    );
  });

  test("fields lie at multiples of their width, and the size at one of the widest", () => {
    fc.assert(
      fc.property(layouts, (chosen) => {
        const made: Struct = struct(
          "s",
          chosen.map((kind, index) => [`f${index}`, kind] as const),
        );
        let end = 0;
        for (const { offset, size } of made.fields) {
          expect(offset % size).toBe(0);
          expect(offset).toBeGreaterThanOrEqual(end);
          expect(offset - end).toBeLessThan(size);
          end = offset + size;
        }
        const widest = Math.max(...made.fields.map(({ size }) => size));
        expect(made.size % widest).toBe(0);
        expect(made.size - end).toBeLessThan(widest);
      }),
    );
  });

  test.each(kinds)("%s refuses what does not fit, and says which field", (kind) => {
    const one: Struct = struct("s", [["f", kind]]);
    const [low, high] = ranges[kind];
    for (const value of [low - 1n, high + 1n])
      expect(codeOf(() => one.encode({ f: value }))).toBe("EINVAL");
    for (const value of [1.5, Number.NaN, 2 ** 60, "1", {}])
      expect(codeOf(() => one.encode({ f: value } as never))).toBe("EINVAL");
    expect(() => one.encode({ f: high + 1n })).toThrow(/f: /);
  });

  test("wide fields take numbers too, exact up to 2^53", () => {
    const wide = struct("s", [
      ["u", "u64"],
      ["s", "s64"],
    ]);
    const numbers = fc.integer({ min: Number.MIN_SAFE_INTEGER, max: Number.MAX_SAFE_INTEGER });
    fc.assert(
      fc.property(numbers, (number) => {
        const bytes = wide.encode({ u: Math.abs(number), s: number } as never);
        expect(wide.decode(bytes)).toEqual({ u: BigInt(Math.abs(number)), s: BigInt(number) });
      }),
    );
    expect(codeOf(() => wide.encode({ u: -1 } as never))).toBe("EINVAL");
  });

  test("byte arrays: shorter ones are filled with zeros, longer ones are refused", () => {
    const named = struct("s", [["name", ["u8", 4]]]);
    const bytes = new Uint8Array(4).fill(9);
    named.encode({ name: Uint8Array.of(1, 2) }, bytes);
    expect(named.decode(bytes).name).toEqual(Uint8Array.of(1, 2, 0, 0));
    expect(codeOf(() => named.encode({ name: new Uint8Array(5) }))).toBe("EINVAL");
  });

  test("too few bytes are refused both ways", () => {
    const made = iommufd.IOMMU_DESTROY.struct;
    expect(codeOf(() => made.encode({}, new Uint8Array(7)))).toBe("EINVAL");
    expect(codeOf(() => made.decode(new Uint8Array(7)))).toBe("EINVAL");
  });

  test("iommufd R1: size is the struct's own; vfio's argsz counts the payload behind it", () => {
    const map = iommufd.IOMMU_IOAS_MAP_FILE.struct;
    expect(map.decode(map.encode({}, new Uint8Array(64))).size).toBe(40);
    const feature = vfio.VFIO_DEVICE_FEATURE.struct;
    expect(feature.decode(feature.encode({}, new Uint8Array(40))).argsz).toBe(40);
    expect(feature.decode(feature.encode({ argsz: 8 }, new Uint8Array(40))).argsz).toBe(8);
  });

  test("a view in the middle of a buffer is written where it lies", () => {
    const buffer = new Uint8Array(32);
    iommufd.IOMMU_DESTROY.struct.encode({ id: 7 }, buffer.subarray(8, 16));
    expect([...buffer.subarray(8, 16)]).toEqual([8, 0, 0, 0, 7, 0, 0, 0]);
    expect(buffer.subarray(16).some((byte) => byte !== 0)).toBe(false);
  });
});

describe("what the specification says of the layouts, on any machine", () => {
  test.each([
    ["IOMMU_DESTROY", 0x3b80, 8],
    ["IOMMU_IOAS_ALLOC", 0x3b81, 12],
    ["IOMMU_IOAS_ALLOW_IOVAS", 0x3b82, 24],
    ["IOMMU_IOAS_COPY", 0x3b83, 40],
    ["IOMMU_IOAS_IOVA_RANGES", 0x3b84, 32],
    ["IOMMU_IOAS_MAP", 0x3b85, 40],
    ["IOMMU_IOAS_UNMAP", 0x3b86, 24],
    ["IOMMU_OPTION", 0x3b87, 24],
    ["IOMMU_VFIO_IOAS", 0x3b88, 12],
    ["IOMMU_HWPT_ALLOC", 0x3b89, 48],
    ["IOMMU_IOAS_MAP_FILE", 0x3b8f, 40],
    ["IOMMU_IOAS_CHANGE_PROCESS", 0x3b92, 8],
  ] as const)("iommufd R1: %s is 0x%s, %i bytes", (name, number, size) => {
    expect(iommufd[name].number).toBe(number);
    expect(iommufd[name].struct.size).toBe(size);
  });

  test("vfio-pci-dmabuf R3: the feature's payload is 16 bytes and ranges of 16", () => {
    expect(vfio.VFIO_DEVICE_FEATURE.number).toBe(0x3b75);
    expect(vfio.vfio_device_feature_dma_buf.size).toBe(16);
    expect(vfio.vfio_region_dma_range.size).toBe(16);
  });

  test("iommufd R31: a test op carries its number and is 72 bytes", () => {
    const { struct, number } = iommufdTest.IOMMU_TEST_OP_DMABUF_REVOKE;
    const bytes = struct.encode({ dmabuf_fd: 5, revoked: 1 });
    expect(number).toBe(0x3ba0);
    expect(bytes.byteLength).toBe(72);
    expect(struct.decode(bytes)).toEqual({ size: 72, op: 23, id: 0, dmabuf_fd: 5, revoked: 1 });
  });
});
