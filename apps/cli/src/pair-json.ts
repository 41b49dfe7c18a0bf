import type { P2pdmaDecision } from "@peerbar/p2pdma";

/** What one pair is in JSON: the contract of `matrix --json`. */
export function pairJson(decision: P2pdmaDecision): Record<string, unknown> {
  const { provider, client, mapType, possible, mapTypeAsShown, distance, acsRedirect } = decision;
  return {
    provider,
    client,
    mapType,
    ...(possible === undefined ? {} : { possible, mapTypeAsShown }),
    distance,
    ...(decision.distanceAtLeast === true ? { distanceAtLeast: true } : {}),
    acsRedirect,
    ...(decision.acsUnknown === undefined ? {} : { acsUnknown: decision.acsUnknown }),
    ...(decision.hostBridgeUnknown === true ? { hostBridgeUnknown: true } : {}),
    ...(decision.cpuUnknown === true ? { cpuUnknown: true } : {}),
    ...(decision.bridgeHidden === true ? { bridgeHidden: true } : {}),
    reason: decision.reason,
    rule: decision.rule,
  };
}

/** Columns of `matrix --csv`. */
export const csvHeader =
  "provider,client,mapType,possible,distance,acsRedirect,acsUnknown,reason,rule";

/** One pair as a line of CSV (RFC 4180, without the line end): lists are separated by blanks. */
export function pairCsv(decision: P2pdmaDecision): string {
  return [
    decision.provider,
    decision.client,
    decision.mapType,
    (decision.possible ?? []).join(" "),
    String(decision.distance),
    decision.acsRedirect.join(" "),
    (decision.acsUnknown ?? []).join(" "),
    `"${decision.reason.replaceAll('"', '""')}"`,
    decision.rule,
  ].join(",");
}
