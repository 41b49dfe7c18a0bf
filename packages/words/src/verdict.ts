import type { MapType } from "@peerbar/p2pdma";
import type { Account } from "./account.js";
import { verdicts } from "./marks.js";

/** The answer to what was asked: can the client reach a BAR of the provider. */
export interface Verdict {
  readonly answer: "yes" | "no" | "unknown";
  /** The map type that the answer looks like, for colours and signs. */
  readonly like: MapType | "unknown";
  /** First words: `YES, switch-local`. */
  readonly words: string;
  /** Sentences that say why. */
  readonly reason: string;
}

const answers = {
  "bus-addr": "yes",
  "thru-host-bridge": "yes",
  "not-supported": "no",
  unknown: "unknown",
} as const;

/** The verdict on a pair. A way alone is none: a provider that is known to have no memory BAR has nothing to reach (p2pdma R2, R4). */
export function verdictOf({ decision, p2pdma }: Account): Verdict {
  const { mapType, provider, reason } = decision;
  if (p2pdma.canProvide(provider) === false && mapType !== "not-supported") {
    return {
      answer: "no",
      like: "not-supported",
      words: verdicts["not-supported"],
      reason: `${provider} has no memory BAR with an address: there is nothing to share (p2pdma R4). The way to it would be ${mapType}: ${reason}`,
    };
  }
  return { answer: answers[mapType], like: mapType, words: verdicts[mapType], reason };
}
