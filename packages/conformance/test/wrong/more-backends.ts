import type { BackendSubject } from "@peerbar/conformance";
import { PhysicalMemory, SimpleIommu, SimpleMapper } from "@peerbar/conformance/reference";
import type {
  AddressSpace,
  DmaMapper,
  IommuBackend,
  IommuDomain,
  IommuPort,
  Iova,
} from "@peerbar/core";

type Mark = "mmio" | "cached";

/** The reference backend, with what each domain's entries say of the memory. */
class MarkingBackend implements IommuBackend {
  readonly name = "simple-iommu with attributes";
  readonly iommu = new SimpleIommu();
  readonly accepts = this.iommu.accepts;
  readonly marks = new Map<IommuDomain, Map<Iova, Mark>>();
  readonly #later: Mark;

  /** @param later - what a domain that is filled from others, or by a copy, gets. */
  constructor(later: Mark) {
    this.#later = later;
  }

  allocAddressSpace(): AddressSpace {
    const space = this.iommu.allocAddressSpace();
    const domains: IommuDomain[] = [];
    const mapped = new Set<Iova>();
    const mark = (domain: IommuDomain, iova: Iova, as: Mark): void => {
      const marks = this.marks.get(domain) ?? new Map<Iova, Mark>();
      this.marks.set(domain, marks.set(iova, as));
    };
    const proxy = new Proxy(space, {
      get: (target, key) => {
        if (key === "allocDomain") {
          return (...args: Parameters<AddressSpace["allocDomain"]>) => {
            const domain = target.allocDomain(...args);
            domains.push(domain);
            for (const iova of mapped) mark(domain, iova, this.#later);
            return domain;
          };
        }
        if (key === "map") {
          return (...args: Parameters<AddressSpace["map"]>) => {
            const mapping = target.map(...args);
            mapped.add(mapping.iova);
            for (const domain of domains) mark(domain, mapping.iova, "mmio");
            return mapping;
          };
        }
        if (key === "copy") {
          return (source: AddressSpace, ...args: CopyArgs) => {
            const mapping = target.copy(originals.get(source) ?? source, ...args);
            mapped.add(mapping.iova);
            for (const domain of domains) mark(domain, mapping.iova, this.#later);
            return mapping;
          };
        }
        const value: unknown = Reflect.get(target, key, target);
        return typeof value === "function" ? (value.bind(target) as unknown) : value;
      },
    });
    originals.set(proxy, space);
    return proxy;
  }
}

type CopyArgs = Parameters<AddressSpace["copy"]> extends [AddressSpace, ...infer R] ? R : never;
const originals = new WeakMap<AddressSpace, AddressSpace>();

/** A backend whose fixture tells attributes. */
export function markingSubject(name: string, later: Mark): BackendSubject {
  return {
    role: "backend",
    name,
    capabilities: ["phys", "ports", "translating", "faults", "attributes"],
    setup: () => {
      const backend = new MarkingBackend(later);
      const memory = new PhysicalMemory();
      const watched: IommuBackend = {
        name: backend.name,
        accepts: backend.accepts,
        allocAddressSpace: () => backend.allocAddressSpace(),
      };
      return {
        iommu: watched,
        connect: (client) => backend.iommu.connect(client),
        memory: (length) => memory.allocate(length),
        faults: () => backend.iommu.faults.length,
        attributes: (domain, iova) => backend.marks.get(domain)?.get(iova),
      };
    },
  };
}

/** known-bugs B59: what a later domain reads back from the first is taken for ordinary memory. */
export const forgetsMmio = markingSubject("wrong", "cached");

/** Counts what the CPU does to memory: cache maintenance walks it line by line, here page by page. */
export function countingSubject(name: string, cleans: boolean): BackendSubject {
  return {
    role: "backend",
    name,
    capabilities: ["phys", "ports", "translating", "faults", "cpu-accesses"],
    setup: () => {
      const iommu = new SimpleIommu();
      const memory = new PhysicalMemory();
      let accesses = 0;
      const touch = (): void => {
        if (cleans) accesses += 1;
      };
      return {
        iommu,
        connect: (client) => cleaning(iommu.connect(client), touch),
        memory: (length) => memory.allocate(length),
        faults: () => iommu.faults.length,
        cpuAccesses: () => accesses,
      };
    },
  };
}

/** A port whose unmaps clean the CPU's cache through the physical address first. */
function cleaning(port: IommuPort, touch: () => void): IommuPort {
  const { dma } = port;
  if (!(dma instanceof SimpleMapper)) throw new TypeError("not the reference mapper");
  const watched: DmaMapper = {
    space: dma.space,
    tryAllocIova: (size) => dma.tryAllocIova(size),
    link: (...args) => {
      dma.link(...args);
    },
    sync: (...args) => {
      dma.sync(...args);
    },
    unlink: (...args) => {
      touch();
      dma.unlink(...args);
    },
    free: (state) => {
      dma.free(state);
    },
    destroy: (...args) => {
      touch();
      dma.destroy(...args);
    },
    mapPhys: (...args) => dma.mapPhys(...args),
    unmapPhys: (...args) => {
      touch();
      dma.unmapPhys(...args);
    },
  };
  return { name: port.name, dma: watched, translate: (...args) => port.translate(...args) };
}

/** known-bugs B22: unmapping treats device memory as cacheable. */
export const cleansMmio = countingSubject("wrong", true);
