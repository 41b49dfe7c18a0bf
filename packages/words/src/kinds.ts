import type { CpuKind, PciFunctionInfo } from "@peerbar/p2pdma";

/** Device classes people ask for, in the order in which lists name them. */
export const classNames = ["gpu", "nic", "nvme", "storage", "bridge"] as const;
export type ClassName = (typeof classNames)[number];

/** CPU kinds that people choose from. Only amd-zen changes an answer; the others are told apart for the reader (p2pdma R17). */
export const cpuKinds = [
  "amd-zen",
  "intel",
  "amd-old",
  "hygon",
  "arm",
  "power",
  "other",
  "unknown",
] as const satisfies readonly CpuKind[];

/** As tests on the 24-bit class code. */
const classes: Readonly<Record<ClassName, (code: number) => boolean>> = {
  gpu: (code) => code >>> 16 === 0x03 || code >>> 16 === 0x12,
  nic: (code) => code >>> 16 === 0x02,
  nvme: (code) => code >>> 8 === 0x0108,
  storage: (code) => code >>> 16 === 0x01,
  bridge: (code) => code >>> 16 === 0x06,
};

/** Whether a function is of a class; false where the input does not show its class code. */
export function isOfClass(fn: PciFunctionInfo, name: ClassName): boolean {
  return fn.classCode !== undefined && classes[name](fn.classCode);
}
