import { cpuKinds } from "@peerbar/words";
import { nothingChanged, type WhatIfState } from "./edits.js";

/** What the address bar keeps, so that a view can be sent as a link: after the #, as in a query. */
export interface Place {
  readonly provider: string | undefined;
  readonly client: string | undefined;
  readonly whatIf: WhatIfState;
}

const modes = ["off", "passthrough", "on"] as const;

/** Reads a fragment; what means nothing is passed over. */
export function readPlace(hash: string): Place {
  const query = new URLSearchParams(hash.replace(/^#/, ""));
  const acs: Record<string, number> = {};
  for (const text of query.getAll("acs")) {
    const [at = "", value = ""] = text.split("=");
    if (at !== "" && /^0x[0-9a-f]{1,4}$/i.test(value)) acs[at] = Number(value);
  }
  const trust = query.getAll("trust");
  return {
    provider: query.get("provider") ?? undefined,
    client: query.get("client") ?? undefined,
    whatIf: {
      ...nothingChanged,
      iommu: modes.find((mode) => mode === query.get("iommu")),
      cpu: cpuKinds.find((cpu) => cpu === query.get("cpu")),
      trust: trust.includes("all") ? "all" : trust,
      acs,
    },
  };
}

/** The fragment of a place, with its #. */
export function writePlace(place: Place): string {
  const query = new URLSearchParams();
  if (place.provider !== undefined) query.set("provider", place.provider);
  if (place.client !== undefined) query.set("client", place.client);
  const { iommu, cpu, trust, acs } = place.whatIf;
  if (iommu !== undefined) query.set("iommu", iommu);
  if (cpu !== undefined) query.set("cpu", cpu);
  for (const root of trust === "all" ? ["all"] : trust) query.append("trust", root);
  for (const [at, control] of Object.entries(acs)) {
    query.append("acs", `${at}=0x${control.toString(16)}`);
  }
  // Colons may stand in a fragment, and addresses are full of them.
  return `#${query.toString().replaceAll("%3A", ":")}`;
}
