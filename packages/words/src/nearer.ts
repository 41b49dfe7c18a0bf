import { matrix, type P2pdma, type P2pdmaDecision } from "@peerbar/p2pdma";

/** Functions of the client's class that reach the provider switch-locally: for a reader who can choose another. */
export function nearerClients(p2pdma: P2pdma, decision: P2pdmaDecision): string[] {
  const { topology } = p2pdma;
  const client = topology.at(decision.client);
  const same = topology
    .endpoints()
    .filter(
      (fn) => fn.physfn < 0 && (fn.classCode ?? -1) >>> 16 === (client.classCode ?? -2) >>> 16,
    );
  const pairs = matrix(p2pdma, [decision.provider, ...same]);
  return same
    .filter((_, i) => pairs.mapTypeAt(0, i + 1) === "bus-addr")
    .map((fn) => fn.address)
    .filter((address) => address !== decision.provider);
}
