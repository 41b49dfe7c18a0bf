/** How the field spells its words, in prose. Code spans, code blocks, links and quoted output are not prose. */
const terms = [
  { wrong: /\bdma ?bufs?\b|\bDMA-BUFs?\b|\bDmaBufs?\b/, right: "dma-buf" },
  // In comments small letters are names of parameters.
  { wrong: /(?<!-)\biovas?\b(?!-)|\bIova\b/, right: "IOVA", inComments: /\bIova\b/ },
  { wrong: /(?<!-)\biommus?\b(?!-)|\bIommu\b/, right: "IOMMU", inComments: /\bIommu\b/ },
  { wrong: /\bIOMMUFD\b|\bIommufd\b/, right: "iommufd" },
  { wrong: /\bVFIO-PCI\b|\bvfio pci\b/, right: "vfio-pci" },
  { wrong: /\bP2PDMA\b|\bP2Pdma\b/, right: "p2pdma" },
  { wrong: /\bPCI-?[eE]xpress\b|\bPCI-e\b|\bPcie\b|\bpcie\b/, right: "PCIe or PCI Express" },
  { wrong: /\bNVME\b|\bNvme\b/, right: "NVMe" },
  { wrong: /\bNvidia\b/, right: "NVIDIA" },
  { wrong: /\bInfiniband\b/, right: "InfiniBand" },
  { wrong: /\bRdma\b/, right: "RDMA" },
  { wrong: /\bNuma\b|\bnuma\b/, right: "NUMA" },
  { wrong: /(?<!-)\blinux\b(?!-)/, right: "Linux" },
  { wrong: /\bmmu_notifiers?\b/, right: "MMU notifier, or the name as code" },
  { wrong: /\buser-?land\b/, right: "user space" },
  { wrong: /\b[Bb]ehaviors?\b/, right: "behaviour" },
  { wrong: /\blicense\b/, right: "licence (the file is LICENSE)" },
  { wrong: /\bscatter[- ]gather list\b/, right: "scatterlist" },
];

/** The prose of a markdown page, line by line; what is no prose is blank. */
export function prose(markdown) {
  let fenced = false;
  return markdown.split("\n").map((line) => {
    if (/^\s*(```|~~~)/.test(line)) {
      fenced = !fenced;
      return "";
    }
    // Tables hold names of things: rooms, options, events.
    if (fenced || /^(?: {4}|\s*\|)/.test(line)) return "";
    return plain(line);
  });
}

/** The prose of a TypeScript file: its comments. */
export function comments(source) {
  let fenced = false;
  return source.split("\n").map((line) => {
    const text = /^\s*(?:\/\*\*?|\*|\/\/)(.*)$/.exec(line)?.[1];
    if (text === undefined) {
      fenced = false;
      return "";
    }
    if (/```/.test(text)) {
      fenced = !fenced;
      return "";
    }
    // Tags name parameters, examples are code.
    return fenced ? "" : plain(text.replace(/@(param|example|throws|link|see)\s+\S+/g, ""));
  });
}

/** Places where a term is misspelt: `line: word, write right`. */
export function misspelt(lines, where = "prose") {
  return lines.flatMap((line, index) =>
    terms.flatMap(({ wrong, right, inComments = wrong }) => {
      const word = (where === "prose" ? wrong : inComments).exec(line)?.[0];
      return word === undefined ? [] : [`${index + 1}: "${word}": write ${right}`];
    }),
  );
}

function plain(line) {
  return (
    line
      .replace(/`[^`]*`/g, " ")
      .replace(/\{@link[^}]*\}/g, " ")
      .replace(/\]\([^)]*\)/g, "] ")
      .replace(/<[^>]*>/g, " ")
      .replace(/https?:\S+/g, " ")
      .replace(/\S*[/_@]\S*/g, " ")
      .replace(/"[^"]*"|'[^' ]*'/g, " ")
      .replace(/\S+\.(?:\w+)\b/g, " ")
      .replace(/\bvfio-pci-dmabuf\b/g, " ")
      // A rule's name is its file's: `dma-iova R7`.
      .replace(/\b[a-z0-9-]+ [A-Z]\d+\b/g, " ")
  );
}
