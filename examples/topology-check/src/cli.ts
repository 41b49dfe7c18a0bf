import { readFileSync } from "node:fs";
import { readTopology } from "@peerbar/p2pdma/node";
import { check, parseRequirements } from "./requirements.js";

/**
 * `topology-check REQUIREMENTS CAPTURE`: exit 0 all met, 1 one is broken, 2 bad input, 3 the capture does not show enough.
 */
export async function main(args: readonly string[], say: (line: string) => void): Promise<number> {
  const [requirements, capture] = args;
  if (requirements === undefined || capture === undefined) {
    say("usage: topology-check REQUIREMENTS CAPTURE");
    return 2;
  }
  try {
    const topology = await readTopology(capture);
    const findings = check(topology, parseRequirements(readFileSync(requirements, "utf8")));
    for (const { requirement, verdict, reason } of findings) {
      const { provider, client, by } = requirement;
      say(`${verdict.padEnd(7)} ${provider} <- ${client} (${by}): ${reason}`);
    }
    if (findings.some(({ verdict }) => verdict === "broken")) return 1;
    return findings.some(({ verdict }) => verdict === "unknown") ? 3 : 0;
  } catch (error) {
    say(error instanceof Error ? error.message : String(error));
    return 2;
  }
}
