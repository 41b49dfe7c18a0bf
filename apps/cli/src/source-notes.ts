import type { TopologySource } from "@peerbar/p2pdma";

/** Most sentences told of one kind: a damaged input has thousands. */
const TOLD = 8;

/** What an input does not show, and what was broken in it, as `not shown: ...` and `broken input: ...`. */
export function sourceNotes({ missing, warnings }: TopologySource): readonly string[] {
  const rest = warnings.length - TOLD;
  return [
    ...missing.map((sentence) => `not shown: ${sentence}`),
    ...warnings.slice(0, TOLD).map((sentence) => `broken input: ${sentence}`),
    ...(rest > 0 ? [`broken input: ${String(rest)} more places`] : []),
  ];
}
