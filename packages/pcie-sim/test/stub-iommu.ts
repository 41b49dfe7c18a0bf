import {
  type AddressSpace,
  DmaBufError,
  type DmaMapper,
  type IommuClient,
  type IommuPort,
  type SoftIommu,
} from "@peerbar/core";
import { DirectMapper } from "../src/index.js";

export interface StubFault {
  readonly device: string;
  readonly pfn: number;
  readonly write: boolean;
}

/** Page by page, by hand: enough to see what the fabric asks of an IOMMU. */
export class IommuStub implements SoftIommu {
  readonly name = "stub";
  readonly accepts = [] as const;
  readonly faults: StubFault[] = [];
  readonly clients = new Map<string, IommuClient>();
  readonly #pages = new Map<string, Map<number, number>>();

  connect(client: IommuClient): IommuPort {
    const pages = new Map<number, number>();
    this.clients.set(client.name, client);
    this.#pages.set(client.name, pages);
    const dma: DmaMapper = new DirectMapper(client.name, client.dmaMask);
    return {
      name: client.name,
      dma,
      translate: (pfn, maxPages, write, out) => {
        const first = pages.get(pfn);
        if (first === undefined) {
          this.faults.push({ device: client.name, pfn, write });
          return 0;
        }
        out.pfn = first;
        let run = 1;
        while (run < maxPages && pages.get(pfn + run) === first + run) run += 1;
        return run;
      },
    };
  }

  map(device: string, address: bigint, phys: bigint, length: bigint): void {
    const pages = this.#pages.get(device);
    for (let i = 0; i < Number(length >> 12n); i++) {
      pages?.set(Number(address >> 12n) + i, Number(phys >> 12n) + i);
    }
  }

  allocAddressSpace(): AddressSpace {
    throw new DmaBufError("EOPNOTSUPP", "stub.allocAddressSpace", "the stub has none");
  }
}
