import { fixes, matrix, P2pdma } from "@peerbar/p2pdma";
import { readTopology } from "@peerbar/p2pdma/node";

export async function main(path: string): Promise<string[]> {
  const topology = await readTopology(path); // lspci -vvv, lspci -xxxx, a /sys tree or .tar.gz, a capture
  const p2pdma = new P2pdma(topology); // the CPU from the input; { cpu: "intel" } where it does not say
  const lines = topology.source.missing.map((what) => `not shown: ${what}`);

  const answer = p2pdma.decide("1b:00.0", "c5:00.0"); // provider, client
  lines.push(`${answer.mapType}, distance ${String(answer.distance)}: ${answer.reason}`);
  for (const fix of fixes(p2pdma, "1b:00.0", "c5:00.0")) lines.push(`fix: ${fix.what}`);

  const pairs = matrix(p2pdma); // all ordered pairs of endpoints
  lines.push(JSON.stringify(pairs.counts()));
  return lines;
}
