import { build } from "esbuild";

/**
 * Small imports whose cost in a browser bundle docs/sizes.md tells (minified, before compression). A size may grow by a tenth and 512
 * bytes before the page has to be written anew: what passes that was often pulled in by accident.
 */
export const imports = [
  { what: "an error check", code: 'export { isDmaBufError } from "@peerbar/core";' },
  { what: "a scatter table", code: 'export { ScatterTable } from "@peerbar/core";' },
  { what: "a buffer and its importers", code: 'export { DmaBuf } from "@peerbar/core";' },
  { what: "the p2pdma decision", code: 'export { P2pdma } from "@peerbar/p2pdma";' },
  {
    what: "the decision for an lspci listing",
    code: 'export { P2pdma, parseTopology } from "@peerbar/p2pdma";',
  },
  { what: "the vfio-pci exporter", code: 'export { VfioPci } from "@peerbar/vfio-pci";' },
  { what: "the iommufd importer", code: 'export { Iommufd } from "@peerbar/iommufd";' },
  { what: "the RDMA importer", code: 'export { RdmaDevice } from "@peerbar/rdma";' },
  { what: "the software IOMMU", code: 'export { MockIommu } from "@peerbar/iommu-mock";' },
  { what: "the simulated machine", code: 'export { Machine } from "@peerbar/pcie-sim";' },
];

/** @returns {Promise<number>} bytes of the minified bundle, read from the workspace's sources */
export async function bundledSize(code, resolveDir) {
  const { outputFiles } = await build({
    stdin: { contents: code, resolveDir, loader: "ts" },
    bundle: true,
    platform: "browser",
    format: "esm",
    target: "es2022",
    conditions: ["@peerbar/source"],
    minify: true,
    write: false,
    logLevel: "silent",
  });
  return outputFiles[0].contents.length;
}

/** Rows of docs/sizes.md: what an import is for, and its bytes. */
export function rowsOf(page) {
  return [...page.matchAll(/^\| (.*?) \| `(.*?)` \| ([\d,]+) \|$/gm)].map(
    ([, what, code, bytes]) => ({
      what,
      code: code.replace(/^import/, "export"),
      bytes: Number(bytes.replaceAll(",", "")),
    }),
  );
}

/** The row of one import. */
export function row({ what, code }, bytes) {
  const shown = code.replace(/^export/, "import").replace(/;$/, "");
  return `| ${what} | \`${shown}\` | ${bytes.toLocaleString("en-US")} |`;
}
