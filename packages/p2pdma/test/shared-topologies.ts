import { existsSync, readdirSync, readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { topologies } from "@peerbar/vitest-config/topologies";

/** Real machines of other people. Never copied into the repository; tests that need them are skipped where they are absent. */
export const SHARED = topologies;

export interface ExpectedPair {
  readonly provider: string;
  readonly client: string;
  readonly mapType: string;
  readonly distance: number;
  readonly acs: readonly string[];
  readonly acsUnknown?: readonly string[];
  readonly hostBridgeUnknown?: boolean;
}

export interface ExpectedMeta {
  readonly functions: readonly {
    readonly bdf: string;
    readonly id: string;
    readonly class: string | null;
    readonly bridge: boolean;
    readonly type: string;
    readonly parent: string | null;
    readonly root: string;
    readonly acsCtl: string | null;
    readonly physfn: string | null;
  }[];
  readonly hostBridges: readonly {
    readonly root: string;
    readonly first: string;
    readonly usableSame: readonly [boolean, boolean];
    readonly usableAcross: readonly [boolean, boolean];
  }[];
}

export function hasShared(): boolean {
  return existsSync(`${SHARED}expected`);
}

/** Inputs that have expected files. */
export function machines(): string[] {
  if (!hasShared()) return [];
  return readdirSync(SHARED).filter((name) => name.endsWith(".txt") || name.endsWith(".tar.gz"));
}

function readJson(path: string): unknown {
  const bytes = existsSync(path) ? readFileSync(path) : gunzipSync(readFileSync(`${path}.gz`));
  return JSON.parse(bytes.toString("utf8"));
}

function baseName(machine: string): string {
  return machine.replace(/\.(?:txt|tar\.gz)$/, "");
}

export function expectedPairs(machine: string, cpu: "intel" | "amd-zen"): ExpectedPair[] {
  return readJson(`${SHARED}expected/${baseName(machine)}.${cpu}.json`) as ExpectedPair[];
}

export function expectedMeta(machine: string): ExpectedMeta {
  return readJson(`${SHARED}expected/${baseName(machine)}.meta.json`) as ExpectedMeta;
}
