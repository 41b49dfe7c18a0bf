import {
  ACS_REDIRECT,
  acsBits,
  applyEdits,
  type CpuKind,
  type EditedTopology,
  type PciTopology,
  type TopologyEdit,
} from "@peerbar/p2pdma";

/** What the reader wants changed. */
export interface WhatIfState {
  readonly iommu: "off" | "passthrough" | "on" | undefined;
  readonly cpu: CpuKind | undefined;
  readonly trust: "all" | readonly string[];
  /** ACS control registers by address. */
  readonly acs: Readonly<Record<string, number>>;
}

export const nothingChanged: WhatIfState = {
  iommu: undefined,
  cpu: undefined,
  trust: [],
  acs: {},
};

/** Whether anything is to be changed. */
export function changes(state: WhatIfState): boolean {
  return (
    state.iommu !== undefined ||
    state.cpu !== undefined ||
    state.trust.length > 0 ||
    Object.keys(state.acs).length > 0
  );
}

/** As edits, in the order of `peerbar what-if`: IOMMU mode first, since it sets ACS everywhere; then single registers. */
export function editsOf(state: WhatIfState): TopologyEdit[] {
  const edits: TopologyEdit[] = [];
  if (state.iommu !== undefined) edits.push({ kind: "iommu", mode: state.iommu });
  for (const [at, control] of Object.entries(state.acs)) edits.push({ kind: "acs", at, control });
  if (state.trust === "all") edits.push({ kind: "trust-host-bridge" });
  else if (state.trust.length > 0) edits.push({ kind: "trust-host-bridge", roots: state.trust });
  if (state.cpu !== undefined) edits.push({ kind: "cpu", cpu: state.cpu });
  return edits;
}

/** The machine after all edits but those of single ACS registers: what their checkboxes start from. */
export function beforeAcs(topology: PciTopology, state: WhatIfState): EditedTopology {
  return applyEdits(topology, editsOf({ ...state, acs: {} }));
}

export const redirectBits = ["RR", "CR", "EC"] as const;
export type RedirectBit = (typeof redirectBits)[number];

/** The state with one bit of a port's control register flipped from what it is now. */
export function flipBit(
  state: WhatIfState,
  at: string,
  now: number,
  bit: RedirectBit,
): WhatIfState {
  return { ...state, acs: { ...state.acs, [at]: now ^ acsBits[bit] } };
}

/** The state in which these ports no longer redirect: what the advice says. */
export function clearRedirects(
  state: WhatIfState,
  topology: PciTopology,
  ports: readonly string[],
): WhatIfState {
  const acs: Record<string, number> = { ...state.acs };
  for (const port of ports) {
    const info = topology.at(port).acs;
    acs[port] = (info.state === "present" ? info.control : 0) & ~ACS_REDIRECT;
  }
  return { ...state, acs };
}

/** Edits that are none are dropped, so that "reset" is what undoing all by hand gives. */
export function tidy(state: WhatIfState, topology: PciTopology): WhatIfState {
  const start = beforeAcs(topology, state).topology;
  const acs = Object.fromEntries(
    Object.entries(state.acs).filter(([at, control]) => {
      const info = start.at(at).acs;
      return info.state !== "present" || info.control !== control;
    }),
  );
  return { ...state, acs };
}
