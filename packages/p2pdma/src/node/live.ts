import { readFileSync } from "node:fs";
import { DmaBufError } from "@peerbar/core";
import type { PciTopology } from "../pci-topology.js";
import { parseSysfs } from "../sysfs.js";
import type { CpuKind, MachineInfo } from "../topology.js";
import { DirectorySysfsTree } from "./directory-tree.js";

/** Reads kernel names of CPU makers (/proc/cpuinfo) to what p2pdma R17 tells apart. */
export function cpuFromCpuinfo(text: string): MachineInfo | undefined {
  const vendor = /^vendor_id\s*:\s*(\S+)/m.exec(text)?.[1];
  const family = Number(/^cpu family\s*:\s*(\d+)/m.exec(text)?.[1] ?? "0");
  const known = (cpu: CpuKind, what: string): MachineInfo => ({
    cpu,
    cpuEvidence: `/proc/cpuinfo: ${what}`,
  });
  if (vendor === "AuthenticAMD") {
    return known(family >= 0x17 ? "amd-zen" : "amd-old", `${vendor}, family ${family.toString()}`);
  }
  if (vendor === "GenuineIntel") return known("intel", vendor);
  if (vendor === "HygonGenuine") return known("hygon", vendor);
  if (/^CPU implementer\s*:/m.test(text)) return known("arm", "CPU implementer");
  if (/^cpu\s*:\s*POWER/m.test(text)) return known("power", "POWER");
  return vendor === undefined ? undefined : known("other", vendor);
}

/** The CPU of this machine; undefined where /proc does not say. */
export function liveMachine(): MachineInfo | undefined {
  try {
    return cpuFromCpuinfo(readFileSync("/proc/cpuinfo", "utf8"));
  } catch {
    return undefined;
  }
}

/**
 * The topology of the running machine. Without CAP_SYS_ADMIN the kernel shows 64 bytes of config space: then ACS is unknown, and
 * `topology.source.missing` says so.
 *
 * @param root - of sysfs; the CPU is read from /proc only for `/sys` itself
 * @throws DmaBufError `ENODEV` when there are no PCI devices there
 */
export function liveTopology(root = "/sys"): PciTopology {
  const tree = new DirectorySysfsTree(root);
  try {
    return parseSysfs(tree, { name: root, machine: root === "/sys" ? liveMachine() : undefined });
  } catch (cause) {
    throw new DmaBufError("ENODEV", "p2pdma.liveTopology", `${root} shows no PCI devices`, {
      cause,
      hint: "this machine or container has none, or /sys is not mounted; read a capture of another machine instead",
    });
  }
}
