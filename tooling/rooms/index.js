/**
 * Which room may import which: the arrows of ARCHITECTURE.md. The linter and the tests read this table, so an arrow that is not here
 * does not pass. Apps may import every room; nobody imports an app.
 */
export const rooms = {
  core: [],
  p2pdma: ["core"],
  "vfio-pci": ["core", "p2pdma"],
  iommufd: ["core"],
  rdma: ["core"],
  "iommu-mock": ["core"],
  "pcie-sim": ["core", "p2pdma"],
  conformance: ["core"],
  words: ["core", "p2pdma"],
  linux: ["core"],
  "iommu-native": ["core", "p2pdma", "linux"],
};

/** Subpaths that may import Node, as folders or files below packages/. All other sources run in a browser too. */
export const nodeSources = [
  "p2pdma/src/node.ts",
  "p2pdma/src/node",
  "core/src/diagnostics.ts",
  "linux/src",
  "iommu-native/src",
];
