import type { BackendSubject } from "@peerbar/conformance";
import { PhysicalMemory, SimpleIommu } from "@peerbar/conformance/reference";
import {
  type AddressSpace,
  DmaBufError,
  type DmaDevice,
  type DmaMapper,
  type IommuBackend,
  type IommuClient,
  type IommuDomain,
  type IommuMapping,
  type IommuPort,
  iova,
  isDmaBufError,
  type MapRequest,
  type PhysRange,
  physAddr,
} from "@peerbar/core";
import { cleansMmio, forgetsMmio } from "./more-backends.js";

type Patch<T> = (right: T) => Partial<T>;
type PhysMap = (ranges: readonly PhysRange[], request: MapRequest) => IommuMapping;

/** `right` with some of its methods replaced; the others still run on it. */
function patched<T extends object>(right: T, changes: Partial<T>): T {
  const proxy = new Proxy(right, {
    get: (target, key) => {
      const source = key in changes ? changes : target;
      const value: unknown = Reflect.get(source, key, source);
      return typeof value === "function" ? (value.bind(source) as unknown) : value;
    },
  });
  originals.set(proxy, right);
  return proxy;
}

const originals = new WeakMap<object, object>();

function original<T extends object>(proxy: T): T {
  return (originals.get(proxy) as T | undefined) ?? proxy;
}

function wrong(
  patches: {
    readonly space?: Patch<AddressSpace>;
    readonly port?: (right: IommuPort, iommu: SimpleIommu) => Partial<IommuPort>;
    readonly dma?: Patch<DmaMapper>;
    readonly client?: (client: IommuClient) => IommuClient;
  },
  faults = true,
): BackendSubject {
  return {
    role: "backend",
    name: "wrong",
    capabilities: ["phys", "ports", "translating", ...(faults ? (["faults"] as const) : [])],
    setup: () => {
      const iommu = new SimpleIommu();
      const memory = new PhysicalMemory();
      const backend: IommuBackend = {
        name: "wrong",
        accepts: iommu.accepts,
        allocAddressSpace: () => {
          const space = iommu.allocAddressSpace();
          const copy: AddressSpace["copy"] = (source, ...rest) =>
            space.copy(original(source), ...rest);
          // A spread would ask getters once and for all.
          const own = Object.getOwnPropertyDescriptors(patches.space?.(space) ?? {});
          return patched<AddressSpace>(space, Object.defineProperties({ copy }, own));
        },
      };
      return {
        iommu: backend,
        connect: (client) => {
          const right = iommu.connect(patches.client?.(client) ?? client);
          const dma = patched<DmaMapper>(right.dma, patches.dma?.(right.dma) ?? {});
          return patched<IommuPort>(right, { dma, ...patches.port?.(right, iommu) });
        },
        memory: (length) => memory.allocate(length),
        faults: () => iommu.faults.length,
      };
    },
  };
}

/** An address space whose `phys` map is wrapped. */
function mapping(
  wrap: (
    ranges: readonly PhysRange[],
    request: MapRequest,
    map: PhysMap,
    space: AddressSpace,
  ) => IommuMapping,
): BackendSubject {
  return wrong({
    space: (space) => ({
      map: ((name: "phys", what: readonly PhysRange[], request: MapRequest) => {
        if ((name as string) !== "phys") return space.map(name, what, request);
        return wrap(what, request, (r, q) => space.map("phys", r, q), space);
      }) as AddressSpace["map"],
    }),
  });
}

const renamed = (error: unknown, from: string, to: "EIO" | "EBUSY"): Error =>
  isDmaBufError(error) && error.code === from
    ? new DmaBufError(to, error.syscall, error.reason)
    : (error as Error);

function renaming<T>(run: () => T, from: string, to: "EIO" | "EBUSY"): T {
  try {
    return run();
  } catch (error) {
    throw renamed(error, from, to);
  }
}

const lengthOf = (ranges: readonly PhysRange[]): bigint =>
  ranges.reduce((sum, range) => sum + range.length, 0n);

/** A mapping that keeps translating when it is revoked, or does something else. */
const onRevoke = (revoke: (right: IommuMapping, space: AddressSpace) => void): BackendSubject =>
  mapping((ranges, request, map, space) => {
    const right = map(ranges, request);
    return patched<IommuMapping>(right, {
      revoke: () => {
        revoke(right, space);
      },
    });
  });

/** One backend for each case, wrong in just that. */
export const wrongBackends: Readonly<Record<string, BackendSubject>> = {
  "space/map-translates": mapping((ranges, request, map) =>
    patched<IommuMapping>(map(ranges, request), { revoked: true }),
  ),
  "space/ranges-in-order": mapping((ranges, request, map) => map([...ranges].reverse(), request)),
  "space/permissions": mapping((ranges, request, map) => map(ranges, { ...request, access: "rw" })),
  "space/fixed-iova-errors": mapping((ranges, request, map) =>
    map(ranges, {
      ...request,
      iova: request.iova === undefined ? undefined : iova(request.iova & ~0xfffn),
    }),
  ),
  "space/reserved-regions": wrong({
    client: (client) => ({ ...client, reserved: [], bridgeWindows: client.reserved }),
  }),
  "space/automatic-iova": mapping((ranges, request, map) => {
    if (request.iova !== undefined || lengthOf(ranges) !== 0x20_0000n) return map(ranges, request);
    return patched<IommuMapping>(map(ranges, request), { iova: iova(0n) });
  }),
  "space/allow-steers-automatic-choice-only": wrong({
    space: (space) => ({
      allow: (ranges) => {
        space.allow(ranges);
        space.allow(space.ranges);
      },
    }),
  }),
  "space/unmap-returns-the-length": wrong({
    space: (space) => ({
      unmap: (at, length) => {
        const bytes = space.unmap(at, length);
        return bytes === length ? bytes : length;
      },
    }),
  }),
  "space/unmap-errors": wrong({
    space: (space) => ({
      unmap: (at, length) => renaming(() => space.unmap(at, length), "ENOENT", "EBUSY"),
    }),
  }),
  "space/unmap-all": wrong({
    space: (space) => {
      let was = 0n;
      return {
        unmapAll: () => {
          const bytes = space.unmapAll();
          if (bytes === 0n && was > 0n) throw new DmaBufError("ENOENT", "ioas.unmap", "nothing");
          was = bytes;
          return bytes;
        },
      };
    },
  }),
  // known-bugs B28: a second revoke unmaps whatever is there by then.
  "space/revoke-keeps-the-iova": onRevoke((right, space) => {
    if (right.revoked) space.unmapAll();
    else right.revoke();
  }),
  // known-bugs B30: with several domains, only the first is emptied.
  "space/revoke-reaches-every-domain": wrong({
    space: (space) => {
      let mapped = 0;
      return {
        map: ((name: "phys", what: readonly PhysRange[], request: MapRequest) => {
          const right = space.map(name, what, request);
          mapped += 1;
          const index = mapped;
          return patched<IommuMapping>(right, {
            revoke: () => {
              if (space.domains.length < 2 || index > 1 || mapped < 2) right.revoke();
            },
          });
        }) as AddressSpace["map"],
      };
    },
  }),
  // known-bugs B29: the area is mapped again when a domain comes.
  "space/late-domain-is-filled": wrong({
    space: (space) => {
      const dead: { at: bigint; ranges: readonly PhysRange[]; request: MapRequest }[] = [];
      return {
        map: ((name: "phys", what: readonly PhysRange[], request: MapRequest) => {
          const right = space.map(name, what, request);
          return patched<IommuMapping>(right, {
            revoke: () => {
              right.revoke();
              dead.push({ at: right.iova, ranges: what, request });
            },
          });
        }) as AddressSpace["map"],
        allocDomain: (device) => {
          const domain = space.allocDomain(device);
          for (const { at, ranges, request } of dead.splice(0)) {
            space.unmap(iova(at), lengthOf(ranges));
            space.map("phys", ranges, { ...request, iova: iova(at) });
          }
          return domain;
        },
      };
    },
  }),
  "space/free-domain": wrong({
    space: (space) => ({
      freeDomain: (domain) => {
        renaming(
          () => {
            space.freeDomain(domain);
          },
          "EBUSY",
          "EIO",
        );
      },
    }),
  }),
  "space/detach-stops-dma": wrong({
    space: (space) => {
      const stuck = new Set<string>();
      return {
        attach: (device, domain) => {
          if (domain === undefined) stuck.add(device.name);
          return space.attach(device, domain);
        },
        detach: (device) => {
          if (!stuck.has(device.name)) space.detach(device);
        },
      };
    },
  }),
  "space/attach-moves": wrong({
    // Keeps the last domain that a device was in, also once the device has left.
    space: (space) => {
      const kept = new Set<IommuDomain>();
      return {
        attach: (device, domain) => {
          const joined = space.attach(device, domain);
          kept.add(joined);
          return joined;
        },
        get domains() {
          return space.domains.length > 0 ? space.domains : [...kept];
        },
      };
    },
  }),
  "space/attach-takes-automatic-domains": wrong({
    // Any domain of the address space will do.
    space: (space) => ({
      attach: (device, domain) => space.attach(device, domain ?? space.domains[0]),
    }),
  }),
  "space/copy": wrong({
    space: (space) => ({
      copy: (source, at, length, request) =>
        renaming(() => space.copy(original(source), at, length, request), "ENOENT", "EIO"),
    }),
  }),
  "space/unknown-interconnect": wrong({
    space: (space) => ({
      map: ((_name: "phys", what: readonly PhysRange[], request: MapRequest) =>
        space.map("phys", what, request)) as AddressSpace["map"],
    }),
  }),
  // known-bugs B9: every link at offset 0 of what is free.
  "dma/links-at-running-offsets": wrong({
    dma: (dma) => ({
      link: (state, offset, range, direction) => {
        const wrongStart = offset === 0x3000n ? 0n : 1n;
        const start = (
          wrongStart === 0n ? range.start + 0x1000n : range.start
        ) as PhysRange["start"];
        dma.link(state, offset, { ...range, start }, direction);
      },
    }),
  }),
  "dma/overlapping-link-refused": wrong({
    dma: (dma) => ({
      link: (state, offset, range, direction) => {
        renaming(
          () => {
            dma.link(state, offset, range, direction);
          },
          "EADDRINUSE",
          "EIO",
        );
      },
    }),
  }),
  "dma/direction-is-permission": wrong({
    dma: (dma) => ({
      link: (state, offset, range) => {
        dma.link(state, offset, range, "bidirectional");
      },
    }),
  }),
  "dma/unlink-keeps-the-iova": wrong({
    dma: (dma) => {
      const unlinked = new Set<bigint>();
      return {
        unlink: (state, offset, length) => {
          dma.unlink(state, offset, length);
          // The one reservation that the case links again.
          if (offset === 0n && state.size === 0x4000n) unlinked.add(state.address);
        },
        link: (state, offset, range, direction) => {
          if (unlinked.has(state.address)) throw new DmaBufError("EINVAL", "dma.link", "used up");
          dma.link(state, offset, range, direction);
        },
      };
    },
  }),
  // known-bugs B19: what destroy frees is handed out twice.
  "dma/destroy-frees-once": wrong({
    dma: (dma) => {
      const again: { address: bigint; size: bigint }[] = [];
      return {
        destroy: (state, mapped) => {
          dma.destroy(state, mapped);
          if (mapped > 0n && state.size === 0x4_0000n) again.push(state, state);
        },
        tryAllocIova: (size) => {
          const index = again.findIndex((one) => one.size === size);
          const [twice] = index < 0 ? [] : again.splice(index, 1);
          if (twice !== undefined) return { address: iova(twice.address), size };
          return dma.tryAllocIova(size);
        },
      };
    },
  }),
  // known-bugs B10.
  "dma/freed-iova-comes-back": wrong({
    dma: (dma) => ({
      free: (state) => {
        if (state.size < 0x2000_0000n) dma.free(state);
      },
    }),
  }),
  "dma/live-iovas-are-disjoint": wrong({
    client: (client) => client,
    dma: (dma) => ({
      tryAllocIova: (size) => {
        const state = dma.tryAllocIova(size);
        if (state === undefined || size !== 0x100_0000n) return state;
        return { address: iova(0n), size };
      },
      free: (state) => {
        if (state.address > 0n) dma.free(state);
      },
    }),
  }),
  "dma/empty-reservation-refused": wrong({
    dma: (dma) => ({ tryAllocIova: (size) => dma.tryAllocIova(size === 0n ? 0x1000n : size) }),
  }),
  "dma/map-phys": wrong({ dma: () => ({ unmapPhys: () => undefined }) }),
  "dma/direct": directThatOffersIovas(),
  "space/translates-in-runs": wrong({
    port: (port) => ({
      translate: (pfn, most, write, out) => (port.translate(pfn, 1, write, out) > 0 ? most : 0),
    }),
  }),
  // A large page has no low address bits.
  "space/large-pages": mapping((ranges, request, map) =>
    map(
      ranges.map(({ start, length }) => {
        const fits = (request.iova ?? 1n) % 0x20_0000n === 0n && length >= 0x20_0000n;
        return { start: physAddr(fits ? start & ~0x1f_ffffn : start), length };
      }),
      request,
    ),
  ),
  "space/permissions-in-every-domain": wrong({
    space: (space) => ({
      copy: (source, at, length, request) =>
        space.copy(original(source), at, length, {
          ...request,
          // The mapping has its area's permission, whatever the copy asked for.
          access: original(source) === space ? "rw" : request.access,
        }),
    }),
  }),
  // The domain ends with the first device that leaves it.
  "space/detach-one-of-two": wrong({
    space: (space) => {
      const inside = new Map<string, DmaDevice>();
      return {
        attach: (device, domain) => {
          if (domain === undefined) inside.set(device.name, device);
          return space.attach(device, domain);
        },
        detach: (device) => {
          space.detach(device);
          for (const other of inside.values()) space.detach(other);
        },
      };
    },
  }),
  "space/copy-does-not-widen": wrong({
    space: (space) => ({
      copy: (source, at, length, request) =>
        renaming(() => space.copy(original(source), at, length, request), "EPERM", "EIO"),
    }),
  }),
  "space/copy-of-what-is-revoked": wrong({
    space: (space) => ({
      copy: (source, at, length, request) => {
        const copy = space.copy(original(source), at, length, request);
        if (copy.revoked) throw new DmaBufError("ENOENT", "ioas.copy", "the source is gone");
        return copy;
      },
    }),
  }),
  "space/restore-takes-what-is-given": mapping((ranges, request, map) => {
    const right = map(ranges, request);
    return patched<IommuMapping>(right, {
      restore: () => right.restore?.("phys", ranges),
    });
  }),
  "dma/unlink-one-of-two": wrong({
    dma: (dma) => ({
      unlink: (state, offset, length) => {
        dma.unlink(state, 0n, offset + length);
      },
    }),
  }),
  "space/mmio-in-every-domain": forgetsMmio,
  "dma/cpu-stays-away-from-mmio": cleansMmio,
  "dma/faults-are-recorded-not-thrown": wrong({
    port: (port, iommu) => ({
      translate: (pfn, maxPages, write, out) => {
        const pages = port.translate(pfn, maxPages, write, out);
        if (pages === 0 && !write) iommu.faults.pop();
        return pages;
      },
    }),
  }),
};

/** Passes for direct, and hands out IOVAs all the same. */
function directThatOffersIovas(): BackendSubject {
  const subject = wrong({}, false);
  return { ...subject, capabilities: ["ports", "direct"] };
}
