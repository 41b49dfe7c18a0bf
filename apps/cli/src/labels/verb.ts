import { cpu, file } from "../options.js";
import type { Verb } from "../verb.js";

/** Formats of `peerbar labels`. */
export const labelFormats = ["nfd", "prometheus", "dra", "nccl-xml", "slurm"] as const;

export const labelsVerb: Verb = {
  name: "labels",
  summary: "this machine's P2P topology for what fleets run: NFD, Prometheus, DRA, NCCL, Slurm",
  details: [
    "nfd: a feature file for Node Feature Discovery's features.d. prometheus: text for node_exporter's textfile collector. dra: ResourceSlices of resource.k8s.io/v1. nccl-xml: a topology for NCCL_TOPO_FILE. slurm: lines for gres.conf.",
    "A switch-local domain is named by the lowest address of the devices that reach each other by bus address. With -o the file is written whole or not at all: its readers never see half of it.",
  ],
  options: [
    file,
    cpu,
    {
      flags: "--format <name>",
      description: labelFormats.join(", "),
      completes: labelFormats,
    },
    {
      flags: "--node <name>",
      description: "the node's name (dra, slurm); $NODE_NAME or the host name by default",
    },
    {
      flags: "--domain <name>",
      description: "DNS name of own DRA attributes and of the driver; peerbar.github.io by default",
    },
    {
      flags: "-o, --output <file>",
      description: "write there, whole or not at all; stdout by default",
      completes: "file",
    },
  ],
  examples: [
    [
      "labels --format nfd -o /etc/kubernetes/node-feature-discovery/features.d/peerbar",
      "labels for this node",
    ],
    [
      "labels --format prometheus -o /var/lib/node_exporter/textfile/peerbar.prom",
      "metrics for this node",
    ],
    ["labels -F server.json --format dra --node gpu-17", "what a DRA driver would publish"],
    ["labels -F server.json --format nccl-xml -o topo.xml", "NCCL_TOPO_FILE=topo.xml"],
  ],
  run: async (io, options) => (await import("../commands/labels.js")).labels(io, options),
};
