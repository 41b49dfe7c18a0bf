import type { P2pdmaDecision, PathStep } from "./decision.js";
import { type AcsInfo, acsBits } from "./topology.js";

/** What a reason is made from: a decision without its sentence. */
export type Facts = Omit<P2pdmaDecision, "reason" | "rule"> & {
  /** The common ancestor is a root port. */
  readonly underRootPort: boolean;
  readonly sameHostBridge: boolean;
  /** The roots are not in the input and may be one bus. */
  readonly rootsHidden: boolean;
};

/** `RR+CR+EC`: the redirecting bits that are set. */
function redirectBits(acs: AcsInfo): string {
  if (acs.state !== "present") return "";
  const names = (["RR", "CR", "EC"] as const).filter((name) => (acs.control & acsBits[name]) !== 0);
  return names.join("+");
}

/** The sentence and the rule for a decision. */
export function explain(facts: Facts): { reason: string; rule: string } {
  if (facts.mapType === "unknown") return explainUnknown(facts);
  if (facts.mapType === "bus-addr") return explainBusAddr(facts);
  return explainHostBridge(facts);
}

function explainBusAddr(facts: Facts): { reason: string; rule: string } {
  const { provider, client, commonAncestor } = facts;
  if (provider === client) {
    return { reason: `${provider} reaches its own BARs.`, rule: "p2pdma R8" };
  }
  const meeting = commonAncestor ?? "";
  const via = facts.underRootPort ? `root port ${meeting}` : meeting;
  return {
    reason: `Both sit below ${via}, and no ACS redirect bit is set on the way: requests are routed there at bus addresses, past CPU and IOMMU.`,
    rule: facts.underRootPort ? "p2pdma R11" : "p2pdma R9",
  };
}

/** Why traffic has to go through the host bridge at all. */
function whyUp(facts: Facts): { clause: string; rule: string } {
  if (facts.acsRedirect.length > 0) {
    const steps = [...facts.upPath, ...facts.downPath];
    const named = facts.acsRedirect.slice(0, 3).map((address) => portText(steps, address));
    const more = facts.acsRedirect.length - named.length;
    const list = `${named.join(", ")}${more > 0 ? ` and ${more.toString()} more` : ""}`;
    return { clause: `ACS at ${list} redirects peer requests up to the root complex`, rule: "R7" };
  }
  if (!facts.sameHostBridge) {
    return { clause: "the two sit below different host bridges", rule: "R16" };
  }
  const onRoot = facts.upPath.length === 1 && facts.downPath.length === 1;
  return onRoot
    ? { clause: "both sit on the root bus, with no bridge of their own in common", rule: "R10" }
    : { clause: "no switch or root port is above both", rule: "R12" };
}

function portText(steps: readonly PathStep[], address: string): string {
  const step = steps.find((candidate) => candidate.address === address);
  const bits = step === undefined ? "" : redirectBits(step.acs);
  return bits === "" ? address : `${address} (${bits})`;
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function explainHostBridge(facts: Facts): { reason: string; rule: string } {
  const up = whyUp(facts);
  const start = capital(up.clause);
  const [a, b] = facts.hostBridges;
  if (facts.mapType === "thru-host-bridge") {
    if (facts.cpu === "amd-zen") {
      return {
        reason: `${start}; the CPU is AMD Zen or newer, which passes it on between any two devices.`,
        rule: "p2pdma R17",
      };
    }
    const listed = a === b ? a.why : `${a.why}, and so is the other: ${b.why}`;
    return { reason: `${start}; the host bridge may pass it on: ${listed}.`, rule: "p2pdma R16" };
  }
  return {
    reason: `${start}; the host bridge is not trusted to pass it on: ${refusal(facts)}.`,
    rule: `p2pdma ${up.rule}`,
  };
}

function refusal(facts: Facts): string {
  const [a, b] = facts.hostBridges;
  const refusing = a.listed === false ? a : b.listed === false ? b : undefined;
  if (refusing !== undefined) return refusing.why;
  const limited = a.sameOnly ? a : b;
  return `${limited.why}, but only for devices below one host bridge (R16)`;
}

function explainUnknown(facts: Facts): { reason: string; rule: string } {
  const missing: string[] = [];
  let rule = "p2pdma R29";
  if (facts.rootsHidden) missing.push("the bridges above both are not in the input");
  if (facts.bridgeHidden === true) missing.push("a bridge on the way is not in the input");
  if (facts.acsUnknown !== undefined && facts.acsRedirect.length === 0) {
    missing.push(`the input does not show the ACS of ${shortList(facts.acsUnknown)}`);
  }
  const [a, b] = facts.hostBridges;
  if (facts.hostBridgeUnknown === true) {
    const unseen = a.listed === undefined ? a : b;
    missing.push(unseen.why);
    if (missing.length === 1) rule = "p2pdma R16";
  }
  if (facts.cpuUnknown === true) {
    const refused = facts.hostBridgeUnknown === true ? "" : `${refusal(facts)}, and `;
    missing.push(`${refused}the CPU is not known (AMD Zen and newer would pass it on)`);
    if (missing.length === 1) rule = "p2pdma R17";
  }
  const answers = facts.possible?.join(" or ") ?? "";
  return { reason: `Cannot tell (${answers}): ${missing.join("; ")}.`, rule };
}

function shortList(addresses: readonly string[]): string {
  const shown = addresses.slice(0, 3).join(", ");
  const more = addresses.length - 3;
  return more > 0 ? `${shown} and ${more.toString()} more` : shown;
}
