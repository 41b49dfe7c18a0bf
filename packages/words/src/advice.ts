import type { Fix } from "@peerbar/p2pdma";
import type { Account } from "./account.js";

/** Something to do about a pair, in words. */
export interface Advice {
  /** `fix`, `shorter`, `or`, `instead`. */
  readonly label: string;
  readonly text: string;
  /** Lines to paste, each with where it goes. */
  readonly lines: Fix["lines"];
  readonly cost: string | undefined;
  readonly risk: string | undefined;
}

/** What helps, the smallest and safest first; empty where the answer is the best there is. */
export function adviceOf(account: Account): readonly Advice[] {
  const { fixes, nearer, decision, p2pdma } = account;
  if (p2pdma.canProvide(decision.provider) === false) {
    return [sentence("fix", "name a function that has a memory BAR as the provider")];
  }
  if (decision.mapType === "bus-addr") return [];
  const first = decision.mapType === "thru-host-bridge" ? "shorter" : "fix";
  const list = fixes.map((fix, i) => fixAdvice(fix, i === 0 ? first : "or"));
  if (list.length === 0) list.push(sentence("fix", noFix(account)));
  if (nearer.length > 0) {
    const shown = nearer.slice(0, 4).join(", ") + (nearer.length > 4 ? ", ..." : "");
    list.push(sentence("instead", `switch-local to this provider: ${shown}`));
  }
  return list;
}

function fixAdvice(fix: Fix, label: string): Advice {
  const gives =
    fix.gives === undefined || fix.gives === "unknown" ? "" : `; the answer is then ${fix.gives}`;
  const { lines, cost, risk } = fix;
  return { label, text: `${fix.what}${gives}`, lines, cost, risk };
}

function sentence(label: string, text: string): Advice {
  return { label, text, lines: [], cost: undefined, risk: undefined };
}

function noFix({ decision }: Account): string {
  if (decision.mapType === "thru-host-bridge") {
    return "none needed; shorter only with both below one switch or root port";
  }
  return "no setting helps: put both below one switch or root port, or use a machine whose host bridge is on the kernel's list";
}
