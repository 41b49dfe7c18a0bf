import { isDmaBufError } from "@peerbar/core";
import { P2pdma, type P2pdmaDecision, type PciTopology } from "@peerbar/p2pdma";

/** One line of a requirements file. */
export interface Requirement {
  /** Whose BAR is reached, and who issues the DMA: addresses or kernel names. */
  readonly provider: string;
  readonly client: string;
  /** `bus`: by a switch alone. `any`: also through the host bridge. */
  readonly by: "bus" | "any";
}

/** A requirement and what the machine says to it. `unknown` is never taken for yes. */
export interface Finding {
  readonly requirement: Requirement;
  readonly verdict: "met" | "broken" | "unknown";
  readonly reason: string;
}

/**
 * Reads a requirements file: a JSON list of {@link Requirement}.
 *
 * @throws Error naming the entry that is none
 */
export function parseRequirements(text: string): Requirement[] {
  const list: unknown = JSON.parse(text);
  if (!Array.isArray(list)) throw new Error("requirements: not a list");
  return list.map((entry: unknown, index) => {
    const { provider, client, by = "any" } = (entry ?? {}) as Record<string, unknown>;
    if (typeof provider !== "string" || typeof client !== "string") {
      throw new Error(`requirements: entry ${index} has no provider or no client`);
    }
    if (by !== "bus" && by !== "any") throw new Error(`requirements: entry ${index}: by is odd`);
    return { provider, client, by };
  });
}

/** What the machine says to each requirement, in their order. */
export function check(topology: PciTopology, requirements: readonly Requirement[]): Finding[] {
  const p2pdma = new P2pdma(topology);
  return requirements.map((requirement) => {
    try {
      const { provider, client } = requirement;
      return { requirement, ...judge(p2pdma.decide(provider, client), requirement.by) };
    } catch (error) {
      if (!isDmaBufError(error)) throw error;
      // A device that is not in the machine breaks what is required of it.
      return { requirement, verdict: "broken", reason: `${error.code}: ${error.reason}` };
    }
  });
}

function judge(decision: P2pdmaDecision, by: "bus" | "any"): Pick<Finding, "verdict" | "reason"> {
  const { mapType, reason } = decision;
  if (mapType === "unknown") return { verdict: "unknown", reason };
  const met = mapType === "bus-addr" || (by === "any" && mapType === "thru-host-bridge");
  return { verdict: met ? "met" : "broken", reason };
}
