import { type PciTopology, toCapture } from "@peerbar/p2pdma";
import type { ReportData } from "./data.js";

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

/** The whole page: the template with a machine and what there is to tell of it. */
export function renderReport(template: string, topology: PciTopology, data: ReportData): string {
  const parts: Readonly<Record<string, string>> = {
    "<!--TITLE-->": text(`${topology.source.name} - peerbar report`),
    "<!--CAPTURE-->": inert(toCapture(topology)),
    "<!--REPORT-->": inert(JSON.stringify(data)),
  };
  // One pass, so that nothing in the data is taken for a mark.
  return template.replace(/<!--(?:TITLE|CAPTURE|REPORT)-->/g, (mark) => parts[mark] ?? "");
}
