import type { HostBridgeVerdict, PathStep } from "@peerbar/p2pdma";
import type { Account } from "./account.js";
import { acsWords } from "./acs.js";
import { roleOf } from "./describe.js";

/** One device on the way, from the provider up to where both meet, and down to the client. */
export interface WayStep {
  /** `both`: a function that reaches itself. `host`: a host bridge, named by its root bus. */
  readonly place: "provider" | "up" | "meet" | "host" | "down" | "client" | "both";
  readonly address: string;
  readonly role: string;
  /** What it does to peer requests; empty where that has no part in the answer. */
  readonly words: string;
  readonly tone: "good" | "bad" | "warn" | "dim";
  /** It sends peer requests up, and that decides. */
  readonly redirects: boolean;
}

/** The way of an account, step by step. */
export function wayOf(account: Account): readonly WayStep[] {
  const { decision } = account;
  const { commonAncestor, upPath, downPath } = decision;
  const counts = commonAncestor !== undefined;
  if (decision.provider === decision.client) {
    return upPath.map((step) => wayStep(account, step, "both", counts));
  }
  const steps = upPath.map((step, i) => {
    const meets = step.address === commonAncestor;
    return wayStep(account, step, i === 0 ? "provider" : meets ? "meet" : "up", counts);
  });
  if (!counts || decision.acsRedirect.length > 0) steps.push(...hostSteps(account));
  const down = downPath
    .map((step, i) => wayStep(account, step, i === 0 ? "client" : "down", counts))
    .reverse();
  return [...steps, ...down];
}

function wayStep(
  { subject, decision }: Account,
  step: PathStep,
  place: WayStep["place"],
  counts: boolean,
): WayStep {
  const fn = subject.topology.get(step.address);
  const meets = step.address === decision.commonAncestor && decision.provider !== decision.client;
  const acs = meets ? `both meet here; ${acsWords(step.acs)}` : acsWords(step.acs);
  // Without a common device traffic goes up anyway: ACS on the way has no part in the answer.
  const idle = step.redirects === true ? "ACS redirects, but has no part here" : "";
  const tone = step.redirects === undefined ? "warn" : step.redirects ? "bad" : "good";
  return {
    place,
    address: step.address,
    role: fn === undefined ? "" : roleOf(fn),
    words: counts ? acs : idle,
    tone: counts ? tone : "dim",
    redirects: counts && step.redirects === true,
  };
}

function hostSteps({ subject, decision }: Account): WayStep[] {
  const [mine, theirs] = decision.hostBridges;
  const zen = subject.cpu === "amd-zen";
  const step = (host: HostBridgeVerdict): WayStep => ({
    place: "host",
    address: host.root,
    role: "host bridge",
    words: zen ? "AMD Zen or newer: passes it on, the list is not asked" : host.why,
    tone: host.listed === true || zen ? "good" : host.listed === false ? "bad" : "warn",
    redirects: false,
  });
  return mine.root === theirs.root ? [step(mine)] : [step(mine), step(theirs)];
}
