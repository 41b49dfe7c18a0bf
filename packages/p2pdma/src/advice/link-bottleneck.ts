import type { P2pdmaDecision } from "../decision.js";
import type { PciTopology } from "../pci-topology.js";
import type { LinkInfo, PciFunctionInfo } from "../topology.js";

/** One link on a pair's way, named by the device at its lower end. */
export interface LinkRate {
  readonly address: string;
  /** GT/s and lanes. */
  readonly speed: number;
  /** Lanes. */
  readonly width: number;
  /** Data rate of one direction in Gb/s: after line coding, before packet overhead. */
  readonly gigabits: number;
}

/** The narrowest link between two functions. */
export interface LinkBottleneck {
  /** The slowest link as it runs now; undefined where no link shows its state. */
  readonly current: LinkRate | undefined;
  /** The slowest by what each link can do at most. */
  readonly maximum: LinkRate | undefined;
  /** Devices whose link the input does not show: it may be slower still. */
  readonly notShown: readonly string[];
}

/** Gb/s of one direction: 8b/10b coding up to 5 GT/s, 128b/130b up to 32 GT/s, flits of 242 in 256 bytes above. */
export function linkRate(speed: number, width: number): number {
  const coding = speed <= 5 ? 0.8 : speed <= 32 ? 128 / 130 : 242 / 256;
  return speed * coding * width;
}

/**
 * The narrowest link between two functions. Switch-local requests turn at the common port; all others go up to the root ports on both
 * sides. Links inside a chip (root-complex endpoints, a switch's own buses) do not count.
 */
export function linkBottleneck(topology: PciTopology, decision: P2pdmaDecision): LinkBottleneck {
  const notShown: string[] = [];
  let current: LinkRate | undefined;
  let maximum: LinkRate | undefined;
  for (const fn of lowerEnds(topology, decision)) {
    const link = linkAbove(topology, fn);
    const now = rate(fn, link?.speed, link?.width);
    const best = rate(fn, link?.maxSpeed, link?.maxWidth);
    if (now === undefined) notShown.push(fn.address);
    current = slower(current, now);
    maximum = slower(maximum, best);
  }
  return { current, maximum, notShown };
}

/** The devices below each link on the way. */
function lowerEnds(topology: PciTopology, decision: P2pdmaDecision): PciFunctionInfo[] {
  if (decision.provider === decision.client) return [];
  const { commonAncestor, upPath, downPath, mapTypeAsShown } = decision;
  const addresses = [...upPath, ...downPath].map((step) => step.address);
  const turnsThere = commonAncestor !== undefined && mapTypeAsShown === "bus-addr";
  const indexes = addresses
    .filter((address) => !turnsThere || address !== commonAncestor)
    .map((address) => topology.indexOf(address));
  if (!turnsThere && commonAncestor !== undefined) {
    // Redirected requests go on from the common port to the root complex.
    let at = topology.get(commonAncestor)?.parent ?? -1;
    for (; at >= 0; at = topology.functions[at]?.parent ?? -1) indexes.push(at);
  }
  const functions = indexes.flatMap((index) => topology.functions[index] ?? []);
  // Where the root bus is not in the input, there may be ports above that are not shown.
  const mayHavePort = (fn: PciFunctionInfo): boolean =>
    fn.parent >= 0 ||
    fn.hiddenUpstream === true ||
    topology.hostBridges[fn.hostBridge]?.complete !== true;
  return functions.filter((fn) => hasLinkAbove(fn) && mayHavePort(fn));
}

function hasLinkAbove(fn: PciFunctionInfo): boolean {
  return (
    fn.portType === "endpoint" ||
    fn.portType === "legacy-endpoint" ||
    fn.portType === "switch-upstream" ||
    fn.portType === "pcie-to-pci" ||
    fn.portType === undefined
  );
}

/** Both ends of a link report it: the lower end first, a VF by its PF, else the port above. */
function linkAbove(topology: PciTopology, fn: PciFunctionInfo): LinkInfo | undefined {
  const own = topology.functions[fn.physfn]?.link ?? fn.link;
  if (own?.speed !== undefined && own.width !== undefined) return own;
  const port = fn.hiddenUpstream === true ? undefined : topology.functions[fn.parent];
  const isPort = port?.portType === "root-port" || port?.portType === "switch-downstream";
  return isPort ? (port.link ?? own) : own;
}

function rate(
  fn: PciFunctionInfo,
  speed: number | undefined,
  width: number | undefined,
): LinkRate | undefined {
  if (speed === undefined || width === undefined || speed <= 0 || width <= 0) return undefined;
  return { address: fn.address, speed, width, gigabits: linkRate(speed, width) };
}

function slower(a: LinkRate | undefined, b: LinkRate | undefined): LinkRate | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  return b.gigabits < a.gigabits ? b : a;
}
