import type { ConformanceCase } from "../case.js";
import { check, equal } from "../expect.js";
import type { BackendCapability, BackendFixture } from "./fixture.js";
import { BackendProbe, mapRanges } from "./probe.js";

type BackendCase = ConformanceCase<BackendFixture, BackendCapability>;

const SIZE = 0x4000n;
const A = "0000:01:00.0";
const B = "0000:02:00.0";

const mmioEverywhere: BackendCase = {
  id: "space/mmio-in-every-domain",
  title: "device memory keeps its attributes in every domain: made before, made later, or by copy",
  rules: "iommufd R10, known-bugs B59",
  needs: ["phys", "ports", "attributes"],
  run(fixture) {
    const [a, b] = [new BackendProbe(fixture, A), new BackendProbe(fixture, B)];
    const space = fixture.iommu.allocAddressSpace();
    const early = space.allocDomain(a.device);
    space.attach(a.device, early);
    const { iova } = mapRanges(space, [fixture.memory(SIZE)]);
    const late = space.allocDomain(b.device);
    space.attach(b.device, late);
    equal(fixture.attributes?.(early, iova), "mmio", "attributes in the domain that was there");
    equal(fixture.attributes?.(late, iova), "mmio", "attributes in the domain made later");
    const other = fixture.iommu.allocAddressSpace();
    const third = other.allocDomain(b.device);
    const copy = other.copy(space, iova, SIZE, { access: "rw" });
    equal(fixture.attributes?.(third, copy.iova), "mmio", "attributes of a copy");
    check(other.unmapAll() === SIZE && space.unmapAll() === SIZE, "not everything was unmapped");
    return Promise.resolve();
  },
};

const noCpuAccess: BackendCase = {
  id: "dma/cpu-stays-away-from-mmio",
  title: "mapping and unmapping device memory makes the CPU touch none of it, coherent or not",
  rules: "dma-iova R2, R12, known-bugs B22",
  needs: ["ports", "translating", "cpu-accesses"],
  run(fixture) {
    const { dma } = new BackendProbe(fixture, A).port;
    const memory = fixture.memory(SIZE);
    const before = fixture.cpuAccesses?.() ?? 0;
    const state = dma.tryAllocIova(SIZE);
    if (state !== undefined) {
      dma.link(state, 0n, memory, "bidirectional");
      dma.sync(state, 0n, SIZE);
      dma.unlink(state, 0n, SIZE);
      dma.link(state, 0n, memory, "bidirectional");
      dma.destroy(state, SIZE);
    }
    dma.unmapPhys(dma.mapPhys(memory, "bidirectional"), SIZE, "bidirectional");
    equal((fixture.cpuAccesses?.() ?? 0) - before, 0, "accesses of the CPU");
    return Promise.resolve();
  },
};

/** What a mapping says about the memory behind it. */
export const attributeCases: readonly BackendCase[] = [mmioEverywhere, noCpuAccess];
