import { acsBits } from "@peerbar/p2pdma";
import type { FabricNode } from "./node.js";

/** What a port does with a request for a peer. */
export type PeerVerdict = "direct" | "redirect" | "violation";

/**
 * Request redirect, egress control and direct translated P2P of the function or downstream port that a request came in through, for a
 * target that is its peer: another function of the device, another port of the switch.
 *
 * Egress control looks at the vector first: a clear bit lets the request through whatever request redirect says, a set bit redirects it
 * where request redirect is on and is a violation where it is off.
 */
export function peerVerdict(from: FabricNode, peer: FabricNode, translated: boolean): PeerVerdict {
  const { acs } = from;
  if (acs === 0) return "direct";
  if (translated && (acs & acsBits.DT) !== 0) return "direct";
  const redirect = (acs & acsBits.RR) !== 0;
  if ((acs & acsBits.EC) === 0) return redirect ? "redirect" : "direct";
  const bit = from.isBridge ? peer.slot : peer.fn;
  if ((from.egressVector & (1 << bit)) === 0) return "direct";
  return redirect ? "redirect" : "violation";
}

/** Checks of a downstream or root port on every request that comes up its link: translation blocking, source validation. */
export function violates(port: FabricNode, requesterBus: number, translated: boolean): boolean {
  const { acs } = port;
  if (acs === 0 || !port.isDownstreamFacing) return false;
  if (translated && (acs & acsBits.TB) !== 0) return true;
  return (
    (acs & acsBits.SV) !== 0 &&
    (requesterBus < port.secondaryBus || requesterBus > port.subordinateBus)
  );
}

/** Upstream forwarding: the port sends what targets itself up, instead of refusing it. */
export function forwardsUpstream(port: FabricNode): boolean {
  return (port.acs & acsBits.UF) !== 0;
}

/** Completion redirect: completions of peer reads go up to the root complex first. They arrive all the same. */
export function redirectsCompletions(node: FabricNode): boolean {
  return (node.acs & acsBits.CR) !== 0;
}
