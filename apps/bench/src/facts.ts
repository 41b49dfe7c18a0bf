import { arch, cpus, loadavg, release, totalmem } from "node:os";

/** What a result depends on besides the code. */
export interface MachineFacts {
  readonly node: string;
  readonly v8: string;
  readonly os: string;
  readonly arch: string;
  readonly cpu: string;
  readonly cores: number;
  readonly memoryBytes: number;
  /** Load over the last minute when the run began: near or above `cores`, the times are of little worth. */
  readonly load: number;
}

export function machineFacts(): MachineFacts {
  return {
    node: process.version,
    v8: process.versions.v8,
    os: `${process.platform} ${release()}`,
    arch: arch(),
    cpu: cpus()[0]?.model ?? "unknown",
    cores: cpus().length,
    memoryBytes: totalmem(),
    load: loadavg()[0] ?? 0,
  };
}

export function formatFacts(facts: MachineFacts): string {
  const { node, os, arch: kind, cpu, cores, load } = facts;
  return `${cpu}, ${String(cores)} cores, ${os} ${kind}, node ${node}, load ${load.toFixed(1)}`;
}
