import { formatId, type PciFunctionInfo } from "@peerbar/p2pdma";
import { plural } from "../wrap.js";
import type { NodeDevice, NodeFacts } from "./node.js";

/**
 * Lines for Slurm's gres.conf: one a GPU, in the order of PCI addresses, with `Links` to each: -1 itself, 2 switch-local, 1 through the
 * host bridge, 0 not at all, or not known. Slurm gives a job GPUs with more links together.
 *
 * Cores are left out: a capture does not know them. `File` is /dev/nvidiaN in the order in which the driver counts (by PCI address), or
 * the render node where the capture names it.
 */
export function gresConf(facts: NodeFacts, node: string): string {
  const gpus = facts.devices.filter(({ kind }) => kind === "gpu");
  const lines = gpus.map((gpu, index) => {
    const file = fileOf(gpu.fn, index);
    return [
      `NodeName=${node}`,
      "Name=gpu",
      `Type=${typeOf(gpu.fn)}`,
      ...(file === undefined ? [] : [`File=${file}`]),
      `Links=${gpus.map((other) => linksTo(facts, gpu, other)).join(",")}`,
    ].join(" ");
  });
  const unknown = gpus.flatMap((gpu, at) =>
    gpus.slice(at + 1).filter((other) => isUnknown(facts, gpu, other)),
  ).length;
  const legend = "# Links: 2 switch-local, 1 through the host bridge, 0 none, or not known\n";
  const doubt =
    unknown === 0
      ? ""
      : `# ${plural(unknown, "pair")} of GPUs not known, for want of data: 0 there may be less than there is\n`;
  return `${legend}${doubt}${lines.map((line) => `${line}\n`).join("")}`;
}

const links = { "bus-addr": 2, "thru-host-bridge": 1, "not-supported": 0, unknown: 0 } as const;

function isUnknown({ pairs }: NodeFacts, a: NodeDevice, b: NodeDevice): boolean {
  const types = [pairs.mapTypeAt(a.row, b.row), pairs.mapTypeAt(b.row, a.row)];
  return types.includes("unknown") && !types.includes("not-supported");
}

/** The worse of both directions: a job uses both. */
function linksTo({ pairs }: NodeFacts, a: NodeDevice, b: NodeDevice): number {
  if (a.row === b.row) return -1;
  return Math.min(links[pairs.mapTypeAt(a.row, b.row)], links[pairs.mapTypeAt(b.row, a.row)]);
}

function fileOf(fn: PciFunctionInfo, index: number): string | undefined {
  if (fn.driver === "nvidia") return `/dev/nvidia${String(index)}`;
  const render = fn.deviceNames.find((name) => /^renderD\d+$/.test(name));
  return render === undefined ? undefined : `/dev/dri/${render}`;
}

/** The marketing name in brackets where there is one, else the IDs; no blanks, no commas. */
function typeOf(fn: PciFunctionInfo): string {
  const name = /\[([^[\]]+)\]\s*$/.exec(fn.name ?? "")?.[1];
  const ids = [fn.vendorId, fn.deviceId].map((id) => (id === undefined ? "unknown" : formatId(id)));
  const text = name ?? ids.join("_");
  return text
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, "_")
    .replaceAll(/^_|_$/g, "");
}
