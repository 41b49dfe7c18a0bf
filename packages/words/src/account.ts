import {
  type CpuKind,
  type Fix,
  fixes,
  type P2pdma,
  type P2pdmaDecision,
  type PciTopology,
} from "@peerbar/p2pdma";
import { nearerClients } from "./nearer.js";

/** Which machine is spoken of, and what is assumed of its CPU. */
export interface Subject {
  readonly topology: PciTopology;
  readonly cpu: CpuKind;
  /** Where the CPU is known from: `--cpu`, or what the input shows; empty where unknown. */
  readonly cpuEvidence: string;
}

/** Everything there is to tell of one ordered pair. */
export interface Account {
  readonly subject: Subject;
  readonly p2pdma: P2pdma;
  readonly decision: P2pdmaDecision;
  readonly fixes: readonly Fix[];
  /** Other functions of the client's class that reach the provider switch-locally. */
  readonly nearer: readonly string[];
}

/** Puts together what belongs to a decision. */
export function accountOf(subject: Subject, p2pdma: P2pdma, decision: P2pdmaDecision): Account {
  return {
    subject,
    p2pdma,
    decision,
    fixes: fixes(p2pdma, decision.provider, decision.client),
    nearer: decision.mapType === "bus-addr" ? [] : nearerClients(p2pdma, decision),
  };
}
