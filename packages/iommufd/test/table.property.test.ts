import { type DmaAccess, type Iova, iova, isDmaBufError, physAddr } from "@peerbar/core";
import { MockIommu } from "@peerbar/iommu-mock";
import fc from "fast-check";
import { expect, it } from "vitest";
import { type Ioas, Iommufd } from "../src/index.js";
import { FakeExporter } from "./fixtures/exporter.js";
import { isExact, TableModel } from "./fixtures/table-model.js";

const ULONG_MAX = (1n << 64n) - 1n;
const SIZE = 0x10_0000n;
const MSI = { first: 0xfee0_0000n, last: 0xfeef_ffffn };
/** What a page table of four levels does not reach. */
const ABOVE = { first: 1n << 48n, last: ULONG_MAX };

/** Where checks begin and end, and where doubles stop counting bytes. */
const EDGES = [
  ...[0n, 1n, 0xfffn, 0x1000n, 0x2000n, MSI.first, MSI.last, 1n << 32n, 1n << 48n, 1n << 52n],
  ...[(1n << 53n) - 1n, 1n << 53n, 1n << 63n, ULONG_MAX - 0xfffn, ULONG_MAX - 1n, ULONG_MAX],
];
const LENGTHS = [
  ...[0n, 1n, 0xfffn, 0x1000n, 0x1001n, 0x2000n, 0x3000n, SIZE - 0x1000n, SIZE, SIZE + 1n],
  ...[1n << 63n, ULONG_MAX - 0xfffn, ULONG_MAX - 1n, ULONG_MAX],
];

/** An address: an edge, or one beside an area that is there. */
const place = fc.record({
  edge: fc.constantFrom(...EDGES),
  area: fc.option(fc.nat(7)),
  beside: fc.constantFrom(0n, 0n, 1n, -1n, 0x1000n, -0x1000n),
});
/** A length: of the list, or that of an area. */
const extent = fc.record({ length: fc.constantFrom(...LENGTHS), area: fc.option(fc.nat(7)) });
const access = fc.constantFrom<DmaAccess>("r", "rw", "w");
const space = fc.nat(1);
const step = fc.oneof(
  fc.record({
    op: fc.constant("map" as const),
    space,
    offset: fc.constantFrom(0n, 0n, 0n, 0x1000n, 1n, 0x800n, SIZE, ULONG_MAX),
    extent,
    place: fc.option(place),
    access,
  }),
  fc.record({ op: fc.constant("unmap" as const), space, place, extent }),
  fc.record({
    op: fc.constant("copy" as const),
    ...{ space, source: space, place, extent, target: fc.option(place), access },
  }),
  fc.record({ op: fc.constant("attach" as const), space }),
);
type Step = typeof step extends fc.Arbitrary<infer S> ? S : never;
type Op<K extends Step["op"]> = Extract<Step, { readonly op: K }>;
type Place = Op<"unmap">["place"];

/** Two address spaces and one device, beside the model of each. */
class Rig {
  readonly #iommufd: Iommufd;
  readonly #device;
  readonly #sides: readonly { readonly ioas: Ioas; readonly model: TableModel }[];
  readonly #exporter = new FakeExporter({
    size: SIZE,
    ranges: [{ start: physAddr(0x40_0000_0000n), length: SIZE }],
    pin: true,
  });

  constructor() {
    const iommu = new MockIommu();
    const reserved = [{ first: iova(MSI.first), last: iova(MSI.last) }];
    const { dma } = iommu.connect({ name: "a", isPci: true, dmaMask: ULONG_MAX, reserved });
    this.#device = { name: "a", pciAddress: "a", dmaMask: ULONG_MAX, dma };
    this.#iommufd = new Iommufd(iommu);
    this.#sides = [0, 1].map(() => ({
      ioas: this.#iommufd.allocIoas(),
      model: new TableModel(SIZE, [MSI, ABOVE]),
    }));
  }

  async run(step: Step): Promise<void> {
    const side = this.#side(step.space);
    if (step.op === "map") await this.#map(step);
    else if (step.op === "unmap") await this.#unmap(step);
    else if (step.op === "copy") await this.#copy(step);
    else await this.#attach(step);
    expect(side.ioas.areaCount).toBe(side.model.areas.length);
  }

  async end(): Promise<void> {
    await this.#iommufd.close();
    expect(this.#exporter.attachments).toBe(0);
    expect(this.#exporter.buffer.references).toBe(1);
  }

  async #map({ space, offset, extent, place, access }: Op<"map">): Promise<void> {
    const { ioas, model } = this.#side(space);
    const { length } = extent;
    const at = place === null ? undefined : this.#address(place, space);
    if (at !== undefined && !isExact(at, length)) return;
    const got = await answer(() =>
      ioas.mapDmaBuf(this.#exporter.buffer, { slice: { offset, length }, access, iova: at }),
    );
    const refusal = model.refusal(offset, length, at);
    if (typeof got === "string") expect(got).toBe(refusal);
    else {
      expect(refusal).toBeUndefined();
      if (at === undefined) expect(got.iova & (offset % 0x1000n)).toBe(offset % 0x1000n);
      else expect(got.iova).toBe(at);
      const last = got.iova + length - 1n;
      expect(model.isFree(got.iova, last)).toBe(true);
      model.areas.push({ first: got.iova, last });
    }
  }

  async #unmap({ space, place, extent }: Op<"unmap">): Promise<void> {
    const { ioas, model } = this.#side(space);
    const first = this.#address(place, space);
    const length = this.#length(extent, space);
    expect(await answer(() => ioas.unmap(first, length))).toBe(model.unmap(first, length));
  }

  async #copy(step: Op<"copy">): Promise<void> {
    const { ioas, model } = this.#side(step.space);
    const source = this.#side(step.source);
    const first = this.#address(step.place, step.source);
    const length = this.#length(step.extent, step.source);
    const at = step.target === null ? undefined : this.#address(step.target, step.space);
    const got = await answer(() =>
      ioas.copy(source.ioas, first, length, { access: step.access, iova: at }),
    );
    if (typeof got === "string") return;
    const parts = source.model.copied(first, length, got.iova);
    expect(parts?.every((part) => model.isFree(part.first, part.last))).toBe(true);
    model.areas.push(...(parts ?? []));
  }

  async #attach({ space }: Op<"attach">): Promise<void> {
    const { ioas, model } = this.#side(space);
    if (model.attached) {
      ioas.detach(this.#device);
      model.attached = false;
      return;
    }
    const got = await answer(() => ioas.attach(this.#device));
    if (typeof got === "string") {
      expect(got).toBe("EADDRINUSE");
      return;
    }
    for (const side of this.#sides) side.model.attached = side.model === model;
  }

  #side(index: number): { readonly ioas: Ioas; readonly model: TableModel } {
    const side = this.#sides[index];
    if (side === undefined) throw new Error("two address spaces");
    return side;
  }

  #address({ edge, area, beside }: Place, space: number): Iova {
    const near = area === null ? undefined : this.#side(space).model.areas[area];
    return iova(BigInt.asUintN(64, (near?.first ?? edge) + beside));
  }

  #length({ length, area }: Op<"unmap">["extent"], space: number): bigint {
    const same = area === null ? undefined : this.#side(space).model.areas[area];
    return same === undefined ? length : same.last - same.first + 1n;
  }
}

/** What it gives, or the errno it refuses with; anything else that is thrown is a defect. */
async function answer<T>(call: () => T | Promise<T>): Promise<T | string> {
  try {
    return await call();
  } catch (error) {
    if (isDmaBufError(error)) return error.code;
    throw error;
  }
}

it("iommufd M2 to M20, R16, R23, R24: any sequence of maps, unmaps, copies and moves of a device does what a list of spans does", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
      const rig = new Rig();
      for (const one of steps) await rig.run(one);
      await rig.end();
    }),
    { numRuns: 300 },
  );
});
