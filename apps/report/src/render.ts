import { type PciTopology, toCapture } from "@peerbar/p2pdma";
import type { EpisodeData, ReportData, RunData } from "./data.js";

export type { EpisodeData, EpisodeEvent, EpisodeStep, ReportData } from "./data.js";

/**
 * JSON that stays inside a script element whatever its strings hold: in JSON `<` can only stand in a string, and so can the line
 * separators that older JavaScript took for line ends.
 */
function inert(json: string): string {
  return json
    .replaceAll("<", "\\u003c")
    .replaceAll("\u2028", "\\u2028")
    .replaceAll("\u2029", "\\u2029");
}

function text(html: string): string {
  return html.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

/** One pass over the template, so that nothing in the data is taken for a mark. */
function fill(template: string, title: string, capture: string, report: unknown): string {
  const parts: Readonly<Record<string, string>> = {
    "<!--TITLE-->": text(`${title} - peerbar report`),
    "<!--CAPTURE-->": inert(capture),
    "<!--REPORT-->": inert(JSON.stringify(report)),
  };
  return template.replace(/<!--(?:TITLE|CAPTURE|REPORT)-->/g, (mark) => parts[mark] ?? "");
}

/** The whole page: the template with a machine and what there is to tell of it. */
export function renderReport(template: string, topology: PciTopology, data: ReportData): string {
  return fill(template, topology.source.name, toCapture(topology), data);
}

/** A page about a run that belongs to no machine. */
export function renderRun(template: string, episode: EpisodeData): string {
  const data: RunData = { schemaVersion: 1, episode };
  return fill(template, episode.title, "", data);
}
