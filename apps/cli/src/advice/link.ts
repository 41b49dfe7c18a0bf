import type { P2pdmaDecision, PciFunctionInfo, PciTopology } from "@peerbar/p2pdma";

/** The narrowest link on a pair's way, and which end of it shows that. */
export interface Bottleneck {
  readonly address: string;
  /** GT/s and lanes as they run, or at best where the input shows no more. */
  readonly speed: number;
  readonly width: number;
  /** Data rate of one direction in Gb/s, after line coding and before packet overhead. */
  readonly gigabits: number;
  /** What the same device and link could do, in Gb/s, where that is shown and more. */
  readonly atBest: number | undefined;
  /** Only the maximum is shown: the link may run below it. */
  readonly maximumOnly: boolean;
}

/** Gb/s of one direction: 8b/10b up to 5 GT/s, 128b/130b up to 32, flits of 242 in 256 bytes above. */
export function linkRate(speed: number, width: number): number {
  const coding = speed <= 5 ? 0.8 : speed <= 32 ? 128 / 130 : 242 / 256;
  return speed * coding * width;
}

/**
 * The slowest link between the two, as far as the input shows links. Switch-local traffic turns at the common port; all other goes up to
 * the root ports. Undefined where no link on the way is shown, and for a function towards itself.
 */
export function bottleneck(
  topology: PciTopology,
  decision: P2pdmaDecision,
): Bottleneck | undefined {
  if (decision.provider === decision.client) return undefined;
  let slowest: Bottleneck | undefined;
  for (const fn of linksOnTheWay(topology, decision)) {
    const found = linkOf(fn);
    if (found !== undefined && (slowest === undefined || found.gigabits < slowest.gigabits)) {
      slowest = found;
    }
  }
  return slowest;
}

/** Functions whose own link (to what is above them) carries the traffic. */
function linksOnTheWay(topology: PciTopology, decision: P2pdmaDecision): PciFunctionInfo[] {
  const { commonAncestor, upPath, downPath, mapTypeAsShown } = decision;
  const steps = [...upPath, ...downPath].map((step) => step.address);
  const local = commonAncestor !== undefined && mapTypeAsShown === "bus-addr";
  const below = local ? steps.filter((address) => address !== commonAncestor) : steps;
  const functions = below.flatMap((address) => topology.get(address) ?? []);
  if (local || commonAncestor === undefined) return functions;
  let at = topology.get(commonAncestor)?.parent ?? -1;
  for (; at >= 0; at = topology.functions[at]?.parent ?? -1) {
    const fn = topology.functions[at];
    if (fn !== undefined) functions.push(fn);
  }
  return functions;
}

function linkOf(fn: PciFunctionInfo): Bottleneck | undefined {
  // A virtual function has the link of its physical function, and reports none of its own.
  const { link } = fn;
  if (link === undefined || fn.physfn >= 0) return undefined;
  const speed = link.speed ?? link.maxSpeed;
  const width = link.width ?? link.maxWidth;
  if (speed === undefined || width === undefined || speed <= 0 || width <= 0) return undefined;
  const gigabits = linkRate(speed, width);
  const best =
    link.maxSpeed === undefined || link.maxWidth === undefined
      ? undefined
      : linkRate(link.maxSpeed, link.maxWidth);
  return {
    address: fn.address,
    speed,
    width,
    gigabits,
    atBest: best !== undefined && best > gigabits ? best : undefined,
    maximumOnly: link.speed === undefined || link.width === undefined,
  };
}
