import type { PciTopology } from "../pci-topology.js";
import { generateServer } from "./server.js";

/**
 * The generated machines that the package ships as captures, by file name below `captures/` (those that begin with `lab-` were taken
 * from a running kernel instead). One GPU server of 8 GPUs, NICs with VFs and NVMe drives below four switches, in the states in which
 * people meet it:
 *
 * - `gpu-server-2s`: two sockets, every second switch redirects, and the second socket's root buses begin with a root port that the
 *   kernel does not list: on Intel all three answers occur.
 * - `gpu-server-2s-acs`: the same two sockets as firmware leaves them, ACS redirection on everywhere.
 * - `gpu-server-1s`: one socket of a Zen server, ACS off, IOMMU in passthrough: tuned for peer-to-peer.
 * - `gpu-server-1s-acs`: one socket, ACS on, translating.
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
  "gpu-server-2s-acs.json": () =>
    generateServer({ name: "gpu-server-2s-acs", sockets: 2, acs: "on", iommu: "on", vfs: 2 }),
  "gpu-server-1s.json": () =>
    generateServer({
      name: "gpu-server-1s",
      sockets: 1,
      acs: "off",
      hostBridges: "unlisted",
      cpu: "amd-zen",
      iommu: "passthrough",
      vfs: 2,
    }),
  "gpu-server-1s-acs.json": () =>
    generateServer({ name: "gpu-server-1s-acs", sockets: 1, acs: "on", iommu: "on", vfs: 2 }),
};
