import { hex } from "@peerbar/core";
import {
  dmaMapping,
  type Fix,
  linkBottleneck,
  numaNodes,
  type PciFunctionInfo,
  pathClass,
  pathClassWords,
} from "@peerbar/p2pdma";
import type { Account } from "../commands/why.js";
import { describeFunction } from "../describe.js";
import type { Glyphs } from "../glyphs.js";
import type { Io } from "../io.js";
import { colored } from "../mark.js";
import { formatBytes } from "../quantity.js";
import type { Style } from "../style.js";
import { paragraph, wrap } from "../wrap.js";
import { drawPath } from "./path.js";

const verdicts = {
  "bus-addr": "YES, switch-local",
  "thru-host-bridge": "YES, through the host bridge",
  "not-supported": "NO",
  unknown: "CANNOT TELL",
} as const;

/** `peerbar why` as text: question, verdict, the way drawn, what follows, what helps. */
export function writeExplanation(io: Io, style: Style, glyphs: Glyphs, account: Account): void {
  const { subject, decision } = account;
  const { topology } = subject;
  const provider = topology.at(decision.provider);
  const client = topology.at(decision.client);
  const write = (label: string, text: string): void => {
    writeEntry(io, style, label, text);
  };
  io.out(style.bold(paragraph(`Can ${describeFunction(client)}`, io.width)));
  io.out(style.bold(paragraph(`reach the BARs of ${describeFunction(provider)}?`, io.width)));
  io.out("\n");
  const verdict = colored(style, decision.mapType, verdicts[decision.mapType]);
  const [first = "", ...rest] = wrap(
    `. ${decision.reason}`,
    io.width - verdicts[decision.mapType].length,
  );
  io.out(`${verdict}${first}\n`);
  for (const line of wrap(rest.join(" "), io.width)) if (line !== "") io.out(`${line}\n`);
  io.out("\n");
  for (const line of drawPath(account, style, glyphs, io.width)) io.out(`${line}\n`);
  io.out("\n");
  write("decided by", decidedBy(account));
  write("map type", mapTypeText(account));
  const mapping = dmaMapping(topology, decision);
  write("addresses", mapping.kind === "unknown" ? mapping.why : `${mapping.kind}: ${mapping.why}`);
  write("distance", distanceText(account));
  write("link", linkText(account));
  write("NUMA", numaText(account));
  write("groups", groupText(account, provider, client));
  write("BARs", barText(account));
  writeFixes(io, style, account);
  for (const sentence of topology.source.missing) write("not shown", sentence);
}

const LABEL = 12;

function writeEntry(io: Io, style: Style, label: string, text: string): void {
  const [first = "", ...rest] = wrap(text, Math.max(20, io.width - LABEL));
  io.out(`${style.dim(label.padEnd(LABEL))}${first}\n`);
  for (const line of rest) io.out(`${" ".repeat(LABEL)}${line}\n`);
}

function decidedBy({ subject, decision }: Account): string {
  const { cpu, cpuEvidence } = subject;
  const evidence = cpuEvidence === "" ? "the input does not say; --cpu does" : cpuEvidence;
  if (decision.commonAncestor !== undefined && decision.acsRedirect.length === 0) {
    return `the ports below ${decision.commonAncestor}: host bridge and CPU are not asked (${decision.rule})`;
  }
  const who = cpu === "amd-zen" ? "the CPU" : "the kernel's list of host bridges";
  return `${who} (${decision.rule}); CPU ${cpu} (${evidence})`;
}

function mapTypeText({ decision }: Account): string {
  const { mapType, possible } = decision;
  return possible === undefined ? mapType : `${mapType}: ${possible.join(" or ")}`;
}

function distanceText({ subject, decision }: Account): string {
  const place = pathClass(subject.topology, decision);
  const words = place === undefined ? "" : `; ${place}: ${pathClassWords[place]}`;
  const refused =
    decision.mapType === "not-supported" ? " (the kernel says -1 where it refuses)" : "";
  return `${String(decision.distance)}${refused}${words}`;
}

function linkText({ subject, decision }: Account): string {
  const { current, maximum, notShown } = linkBottleneck(subject.topology, decision);
  const found = current ?? maximum;
  if (found === undefined) {
    return notShown.length === 0 ? "none is crossed" : "the input shows no link on the way";
  }
  const rate = `${found.gigabits.toFixed(0)} Gb/s (${(found.gigabits / 8).toFixed(1)} GB/s) before packet overhead`;
  const most = current === undefined ? " at best (the present state is not shown)" : "";
  const slowed =
    current !== undefined && maximum !== undefined && maximum.gigabits > current.gigabits;
  const best = slowed
    ? `; at best ${maximum.gigabits.toFixed(0)} Gb/s: check slot, riser and power state`
    : "";
  const hidden =
    notShown.length === 0 || current === undefined ? "" : `; not shown at ${notShown.join(", ")}`;
  return `narrowest at ${found.address}: ${String(found.speed)} GT/s x${String(found.width)}, ${rate}${most}${best}${hidden}`;
}

function numaText({ subject, decision }: Account): string {
  const { provider, client, sameNode } = numaNodes(subject.topology, decision);
  const node = (number: number | undefined): string =>
    number === undefined ? "not shown" : `node ${String(number)}`;
  if (provider === undefined && client === undefined) return "nodes are not shown";
  return sameNode === true
    ? `both ${node(provider)}`
    : `provider ${node(provider)}, client ${node(client)}`;
}

function groupText(
  { subject }: Account,
  provider: PciFunctionInfo,
  client: PciFunctionInfo,
): string {
  const group = (fn: PciFunctionInfo): string => {
    const type = subject.topology.iommuGroups.find((info) => info.id === fn.iommuGroup)?.type;
    return fn.iommuGroup === undefined
      ? "not shown"
      : `${String(fn.iommuGroup)}${type === undefined ? "" : ` (${type})`}`;
  };
  const [a, b] = [group(provider), group(client)];
  if (a === b) return a === "not shown" ? "IOMMU groups are not shown" : `both in IOMMU group ${a}`;
  return `IOMMU group of the provider ${a}, of the client ${b}`;
}

function barText({ p2pdma, decision }: Account): string {
  const bars = p2pdma.providerBars(decision.provider).filter((one) => one.isProvider);
  if (bars.length === 0) {
    return `${decision.provider} shows no memory BAR: there is nothing to share`;
  }
  const list = bars.map(({ bar, busOffset }) => {
    const size = bar.length === undefined ? "size not shown" : formatBytes(bar.length);
    const offset = busOffset === 0n ? "" : `, bus address = CPU address + ${hex(busOffset)}`;
    return `BAR ${String(bar.index)} (${size}${offset})`;
  });
  return `can be shared: ${list.join(", ")}`;
}

function writeFixes(io: Io, style: Style, account: Account): void {
  const { fixes, nearer, decision } = account;
  if (decision.mapType === "bus-addr") return;
  io.out("\n");
  if (fixes.length === 0) {
    writeEntry(io, style, "fix", noFix(account));
  }
  for (const fix of fixes) writeFix(io, style, fix, fixes[0] === fix ? firstLabel(account) : "or");
  if (nearer.length > 0) {
    const shown = nearer.slice(0, 4).join(", ") + (nearer.length > 4 ? ", ..." : "");
    writeEntry(io, style, "instead", `switch-local to this provider: ${shown}`);
  }
}

function firstLabel({ decision }: Account): string {
  return decision.mapType === "thru-host-bridge" ? "shorter" : "fix";
}

function writeFix(io: Io, style: Style, fix: Fix, label: string): void {
  const gives =
    fix.gives === undefined || fix.gives === "unknown" ? "" : `; the answer is then ${fix.gives}`;
  writeEntry(io, style, label, `${fix.what}${gives}`);
  for (const line of fix.lines) {
    // To be pasted: never wrapped.
    io.out(`${" ".repeat(LABEL)}${style.accent(line.text)}  ${style.dim(`(${line.where})`)}\n`);
  }
  if (fix.cost !== undefined) writeEntry(io, style, "  cost", fix.cost);
  if (fix.risk !== undefined) writeEntry(io, style, "  RISK", fix.risk);
}

function noFix({ decision }: Account): string {
  if (decision.mapType === "thru-host-bridge") {
    return "none needed; shorter only with both below one switch or root port";
  }
  return "no setting helps: put both below one switch or root port, or use a machine whose host bridge is on the kernel's list";
}
