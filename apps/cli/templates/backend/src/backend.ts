import {
  type AddressSpace,
  busAddr,
  DmaBufError,
  type DmaMapper,
  type InterconnectName,
  type IommuClient,
  type IommuPort,
  type SoftIommu,
} from "@peerbar/core";

/** No translation, as with `iommu=pt`: devices put physical addresses on their wires. */
export class MyBackend implements SoftIommu {
  readonly name = "my-backend";
  readonly accepts: readonly InterconnectName[] = [];

  connect(client: IommuClient): IommuPort {
    return {
      name: client.name,
      dma: directMapper(client.dmaMask),
      translate: (pfn, maxPages, _write, out) => {
        out.pfn = pfn;
        return maxPages;
      },
    };
  }

  allocAddressSpace(): AddressSpace {
    throw new DmaBufError("EOPNOTSUPP", "iommu.allocAddressSpace", "nothing translates here");
  }
}

function directMapper(dmaMask: bigint): DmaMapper {
  const noIova = (): never => {
    throw new DmaBufError("EINVAL", "dma", "no IOVA was ever handed out");
  };
  return {
    space: "bus",
    tryAllocIova: () => undefined, // callers then map range by range
    link: noIova,
    sync: noIova,
    unlink: noIova,
    free: noIova,
    destroy: noIova,
    mapPhys: ({ start, length }) => {
      if (start + length - 1n > dmaMask) {
        throw new DmaBufError("ENOMEM", "dma.mapPhys", "out of the device's reach");
      }
      return busAddr(start);
    },
    unmapPhys: () => undefined,
  };
}
