import type { PciTopology } from "../pci-topology.js";
import { generateServer } from "./server.js";

/**
 * The generated machines that the package ships as captures, by file name below `captures/`. Two sockets; below each of the four root
 * buses one switch with two GPUs, a NIC with VFs and an NVMe drive. Every second switch redirects, and the second socket's root
 * buses begin with a root port that the kernel does not list: on Intel all three answers occur.
 */
export const shippedCaptures: Readonly<Record<string, () => PciTopology>> = {
  "gpu-server-2s.json": () =>
    generateServer({
      name: "gpu-server-2s",
      sockets: 2,
      acs: "mixed",
      hostBridges: "mixed",
      iommu: "on",
      vfs: 2,
    }),
};
