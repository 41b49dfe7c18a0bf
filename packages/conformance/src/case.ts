import type { Turns } from "./turns.js";

/** The three kinds of code a third party writes against `@peerbar/core`. */
export type Role = "exporter" | "importer" | "backend";

/**
 * One rule of the protocol as an executable check. Plain data: any runner can list, filter and run it.
 *
 * @typeParam Fixture - what the subject hands over for one run of one case.
 * @typeParam Capability - names of what subjects of this role may or may not be able to do.
 */
export interface ConformanceCase<Fixture, Capability extends string = string> {
  /** `operation/behaviour`, unique in its suite and stable: known gaps and reports name it. */
  readonly id: string;
  /** The behaviour, as a sentence. */
  readonly title: string;
  /** Spec rules that it proves: `"dma-buf R21, R24"`. */
  readonly rules: string;
  /** Capabilities the subject must have for this case to apply; skipped, with the reason in the report, where one is missing. */
  readonly needs?: readonly Capability[];
  /** Rejects with a {@link ConformanceFailure} (or whatever the subject threw) where the rule is broken. */
  run(fixture: Fixture, turns: Turns): Promise<void>;
}

/** Something that claims to fill a role, and how to make a fresh one. */
export interface Subject<Fixture, Capability extends string = string> {
  readonly role: Role;
  /** Shown in reports: `"vfio-pci (host-bridge-iova)"`. */
  readonly name: string;
  /** What it can do. Public: what is missing here is a skipped case that users see. */
  readonly capabilities: readonly Capability[];
  /** Case ids it is known to fail, each with the reason. One that passes all the same fails the run. */
  readonly knownGaps?: Readonly<Record<string, string>>;
  /** Called once per case; must return state shared with no other case. */
  setup(): Fixture | Promise<Fixture>;
  /** Called after each case, passed or failed. */
  teardown?(fixture: Fixture): void | Promise<void>;
  /** Lets the subject make progress once. Default: one microtask; a subject over a real kernel passes a macrotask. */
  turn?(): Promise<void>;
}

/** How one case ended. `known-gap`: it failed as the subject said it would. */
export type CaseStatus = "passed" | "failed" | "skipped" | "known-gap";

/** How one case ended. */
export interface CaseResult {
  readonly id: string;
  readonly title: string;
  readonly rules: string;
  readonly status: CaseStatus;
  /** What went wrong, which capability is missing, or the reason of the known gap; empty where it passed. */
  readonly detail: string;
}

/** How all cases of a suite ended, for one subject. JSON as it stands. */
export interface ConformanceReport {
  readonly schemaVersion: 1;
  readonly role: Role;
  readonly subject: string;
  /** Cases that passed, of {@link cases}. */
  readonly passed: number;
  /** Cases that failed, and known gaps that passed all the same. */
  readonly failed: number;
  /** Cases left out: a capability is missing. */
  readonly skipped: number;
  /** Cases that failed as the subject said they would. */
  readonly knownGaps: number;
  /** In the order of the suite. */
  readonly cases: readonly CaseResult[];
}
