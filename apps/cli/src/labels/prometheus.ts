import { ACS_REDIRECT, linkRate, type PciFunctionInfo } from "@peerbar/p2pdma";
import { roleOf } from "@peerbar/words";
import { labelled, type NodeFacts, pairCounts } from "./node.js";

type Labels = Readonly<Record<string, string>>;
type Sample = readonly [Labels, number];

interface Metric {
  readonly name: string;
  readonly help: string;
  readonly samples: readonly Sample[];
}

/**
 * Text for node_exporter's textfile collector: gauges in the exposition format, a HELP and a TYPE line each. What the input does not show
 * has no sample.
 */
export function prometheusText(facts: NodeFacts): string {
  return metricsOf(facts)
    .filter(({ samples }) => samples.length > 0)
    .map(
      ({ name, help, samples }) =>
        `# HELP ${name} ${help}\n# TYPE ${name} gauge\n${samples.map((sample) => line(name, sample)).join("")}`,
    )
    .join("");
}

function line(name: string, [labels, value]: Sample): string {
  const text = Object.entries(labels)
    .map(([key, label]) => `${key}="${escapeLabel(label)}"`)
    .join(",");
  return `${name}${text === "" ? "" : `{${text}}`} ${String(value)}\n`;
}

/** Backslash, quote and line feed are all that the format escapes. */
function escapeLabel(label: string): string {
  return label.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}

function metricsOf(facts: NodeFacts): readonly Metric[] {
  const { subject, topology, devices } = facts;
  const ports = topology.functions.filter(({ acs }) => acs.state === "present");
  const unknown = topology.functions.filter(({ acs }) => acs.state === "unknown").length;
  const links = topology.functions.filter(({ physfn, link }) => physfn < 0 && link !== undefined);
  return [
    {
      name: "peerbar_topology_info",
      help: "The machine's PCI topology: content hash of its capture, and the CPU kind that decides.",
      samples: [[{ hash: facts.hash, cpu: subject.cpu }, 1]],
    },
    {
      name: "peerbar_device_info",
      help: "GPUs, NICs and NVMe drives: root bus, switch and switch-local domain.",
      samples: devices.map(
        ({ fn, kind, root, switchPort, domain }): Sample => [
          {
            address: fn.address,
            class: kind,
            root,
            switch: switchPort ?? "",
            domain: domain ?? "",
            numa_node: fn.numaNode?.toString() ?? "",
            driver: fn.driver ?? "",
          },
          1,
        ],
      ),
    },
    {
      name: "peerbar_pairs",
      help: "Ordered pairs of devices by the kernel's map type for the client's DMA to the provider's BARs.",
      samples: labelled.flatMap((provider) =>
        labelled.flatMap((client) =>
          Object.entries(pairCounts(facts, provider, client)).map(
            ([mapType, count]): Sample => [{ provider, client, map_type: mapType }, count],
          ),
        ),
      ),
    },
    {
      name: "peerbar_acs_redirect",
      help: "1 where a port's ACS redirects peer requests or completions to the root complex.",
      samples: ports.map((fn): Sample => [portLabels(fn), redirects(fn) ? 1 : 0]),
    },
    {
      name: "peerbar_acs_unknown_functions",
      help: "Functions whose ACS the reader had no privilege to see.",
      samples: [[{}, unknown]],
    },
    {
      name: "peerbar_link_bytes_per_second",
      help: "Rate of a PCIe link as it runs, before packet overhead.",
      samples: links.flatMap((fn) => rate(fn, fn.link?.speed, fn.link?.width)),
    },
    {
      name: "peerbar_link_max_bytes_per_second",
      help: "Rate that the function itself could run its PCIe link at, before packet overhead.",
      samples: links.flatMap((fn) => rate(fn, fn.link?.maxSpeed, fn.link?.maxWidth)),
    },
  ];
}

function portLabels(fn: PciFunctionInfo): Labels {
  return { address: fn.address, role: roleOf(fn) };
}

function redirects({ acs }: PciFunctionInfo): boolean {
  return acs.state === "present" && (acs.control & ACS_REDIRECT) !== 0;
}

function rate(
  fn: PciFunctionInfo,
  speed: number | undefined,
  width: number | undefined,
): readonly Sample[] {
  if (speed === undefined || width === undefined || width === 0) return [];
  return [[portLabels(fn), Math.round((linkRate(speed, width) * 1e9) / 8)]];
}
