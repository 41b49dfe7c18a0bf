import { DmaBufError } from "@peerbar/core";
import {
  type AcsInfo,
  acsBits,
  type CpuKind,
  type PciFunctionInfo,
  PciTopology,
} from "@peerbar/p2pdma";
import { withoutRedirect } from "./fix.js";

/** What `what-if` is asked to change, as it was typed. */
export interface EditOptions {
  readonly acs?: readonly string[] | undefined;
  readonly trustHostBridge?: boolean | undefined;
  readonly iommu?: string | undefined;
  readonly move?: readonly string[] | undefined;
}

/** A machine after the edits. */
export interface Edited {
  readonly topology: PciTopology;
  readonly cpu: CpuKind;
  /** Groups exist: an IOMMU is on. */
  readonly iommu: boolean;
  /** Domain type of every group where --iommu says it; `none` for off. */
  readonly domain: string | undefined;
  /** One sentence for each edit, and what it takes for granted. */
  readonly edits: readonly string[];
  readonly notes: readonly string[];
}

/** What the kernel sets on each function with ACS when an IOMMU is on (p2pdma R33), as far as the function has it. */
const KERNEL_ACS = acsBits.SV | acsBits.RR | acsBits.CR | acsBits.UF;

/**
 * A copy of the machine with the edits made, in this order: moves, IOMMU mode, single ACS registers, trust.
 *
 * @throws DmaBufError EINVAL for an edit that means nothing or cannot be made, ENODEV for a function that is not there
 */
export function applyEdits(topology: PciTopology, cpu: CpuKind, options: EditOptions): Edited {
  const functions = [...topology.functions];
  const edits: string[] = [];
  const notes: string[] = [];
  for (const text of split(options.move)) edits.push(move(topology, functions, text));
  const mode = iommuMode(options.iommu);
  let iommu =
    topology.iommuGroups.length > 0 || functions.some((fn) => fn.iommuGroup !== undefined);
  if (mode !== undefined) {
    iommu = mode !== "off";
    setIommu(functions, mode, edits, notes);
  }
  for (const text of split(options.acs)) edits.push(setAcs(topology, functions, text));
  if (options.trustHostBridge === true) {
    edits.push("every host bridge passes peer traffic on");
    notes.push(
      "RISK: a host bridge that is not on the list may drop or corrupt peer traffic without an error; the list has those that were tested",
    );
  }
  if (edits.length === 0) {
    throw new DmaBufError("EINVAL", "what-if", "nothing is to be changed", {
      hint: "give --acs BDF=off, --trust-host-bridge, --iommu off|pt|on or --move BDF=PORT",
    });
  }
  const { hostBridges, source, machine, iommuGroups } = topology;
  return {
    topology: new PciTopology({ functions, hostBridges, source, machine, iommuGroups }),
    // The CPU rule passes every pair on, whatever the list says (p2pdma R17): the same as trusting all host bridges.
    cpu: options.trustHostBridge === true ? "amd-zen" : cpu,
    iommu,
    domain: mode === undefined ? undefined : { off: "none", pt: "identity", on: "DMA-FQ" }[mode],
    edits,
    notes,
  };
}

function split(texts: readonly string[] | undefined): string[] {
  return (texts ?? []).flatMap((text) => text.split(",")).map((text) => text.trim());
}

function sides(option: string, text: string, hint: string): readonly [string, string] {
  const [left, right, ...more] = text.split("=");
  if (left === undefined || right === undefined || left === "" || right === "" || more.length > 0) {
    throw new DmaBufError("EINVAL", option, `"${text}" is no edit`, { hint });
  }
  return [left, right];
}

function setAcs(topology: PciTopology, functions: PciFunctionInfo[], text: string): string {
  const hint = "write BDF=off, BDF=on or BDF=0x1d (the control register)";
  const [address, value] = sides("--acs", text, hint);
  const index = topology.resolve(address);
  const fn = functions[index];
  if (fn === undefined) throw new DmaBufError("ENODEV", "--acs", `no function ${address}`);
  functions[index] = { ...fn, acs: newAcs(fn, value, hint) };
  return `ACS of ${fn.address} ${value}`;
}

function newAcs(fn: PciFunctionInfo, value: string, hint: string): AcsInfo {
  const { acs } = fn;
  if (acs.state === "none") {
    throw new DmaBufError("EINVAL", "--acs", `${fn.address} has no ACS to set`, {
      hint: "peerbar topo shows which functions have it",
    });
  }
  if (value === "off") {
    return acs.state === "present"
      ? withoutRedirect(acs)
      : { state: "present", control: 0, capability: undefined };
  }
  if (value === "on") return kernelAcs(acs, fn);
  const control = /^(?:0x[0-9a-f]{1,4}|\d{1,5})$/i.test(value) ? Number(value) : Number.NaN;
  if (!(control <= 0xffff)) {
    throw new DmaBufError("EINVAL", "--acs", `"${value}" is neither off nor on nor 16 bits`, {
      hint,
    });
  }
  const capability = acs.state === "present" ? acs.capability : undefined;
  const missing = capability === undefined ? 0 : control & 0x7f & ~capability;
  if (missing !== 0) {
    throw new DmaBufError(
      "EINVAL",
      "--acs",
      `${fn.address} cannot set bits 0x${missing.toString(16)}: its capability is 0x${(capability ?? 0).toString(16)}`,
      { hint: "bits that the capability lacks are read-only zero" },
    );
  }
  return { state: "present", control, capability };
}

function kernelAcs(acs: AcsInfo, fn: PciFunctionInfo): AcsInfo {
  const capability = acs.state === "present" ? acs.capability : undefined;
  const control = acs.state === "present" ? acs.control : 0;
  // Endpoints may have ACS without peer-to-peer bits; where the capability is not shown, ports have them all.
  const isPort = fn.portType === "root-port" || fn.portType === "switch-downstream";
  const wanted = KERNEL_ACS & (capability ?? (isPort ? KERNEL_ACS : 0));
  return { state: "present", control: control | wanted, capability };
}

function iommuMode(text: string | undefined): "off" | "pt" | "on" | undefined {
  if (text === undefined || text === "off" || text === "pt" || text === "on") return text;
  throw new DmaBufError("EINVAL", "--iommu", `no IOMMU mode "${text}"`, {
    hint: "use off, pt (identity domains) or on (translating domains)",
  });
}

function setIommu(
  functions: PciFunctionInfo[],
  mode: "off" | "pt" | "on",
  edits: string[],
  notes: string[],
): void {
  const words = {
    off: "IOMMU off",
    pt: "IOMMU on, identity domains",
    on: "IOMMU on, translating domains",
  };
  edits.push(words[mode]);
  for (const [index, fn] of functions.entries()) {
    if (fn.acs.state !== "present") continue;
    const acs = mode === "off" ? withoutRedirect(fn.acs) : kernelAcs(fn.acs, fn);
    functions[index] = { ...fn, acs };
  }
  notes.push(
    mode === "off"
      ? "without an IOMMU ACS stays as the firmware set it (p2pdma R34): taken as not redirecting"
      : "with an IOMMU the kernel sets SV, RR, CR and UF on every function that has them (p2pdma R33), unless told otherwise by pci=",
  );
}

function move(topology: PciTopology, functions: PciFunctionInfo[], text: string): string {
  const hint = "write BDF=PORT: PORT is a root port or switch port of the same machine";
  const [who, where] = sides("--move", text, hint);
  const index = topology.resolve(who);
  const port = topology.resolve(where);
  const fn = functions[index];
  const above = functions[port];
  if (fn === undefined || above === undefined) {
    throw new DmaBufError("ENODEV", "--move", `no function ${who} or ${where}`);
  }
  if (above.busNumbers === undefined || above.portType === "switch-upstream") {
    throw new DmaBufError("EINVAL", "--move", `nothing can be plugged in below ${above.address}`, {
      hint: "name a root port or a switch's downstream port; peerbar topo shows them",
    });
  }
  if (fn.physfn >= 0) {
    throw new DmaBufError("EINVAL", "--move", `${fn.address} is a virtual function`, {
      hint: `move its physical function ${functions[fn.physfn]?.address ?? ""}`,
    });
  }
  for (let at = port; at >= 0; at = functions[at]?.parent ?? -1) {
    if (at === index) {
      throw new DmaBufError("EINVAL", "--move", `${above.address} is below ${fn.address} itself`, {
        hint,
      });
    }
  }
  return moveDevice(functions, fn, port, above);
}

/** All functions of the device move, its virtual functions too, and what is below them stays below them. */
function moveDevice(
  functions: PciFunctionInfo[],
  fn: PciFunctionInfo,
  port: number,
  above: PciFunctionInfo,
): string {
  const device = fn.address.slice(0, -2);
  const moved = new Set<number>();
  for (const [i, other] of functions.entries()) {
    const pf = other.physfn >= 0 ? functions[other.physfn] : undefined;
    if ((pf ?? other).address.slice(0, -2) === device) moved.add(i);
  }
  let grown = true;
  const below = new Set(moved);
  while (grown) {
    grown = false;
    for (const [i, other] of functions.entries()) {
      if (!below.has(i) && below.has(other.parent)) {
        below.add(i);
        grown = true;
      }
    }
  }
  for (const i of below) {
    const other = functions[i];
    if (other === undefined) continue;
    const parent = moved.has(i) ? port : other.parent;
    functions[i] = {
      ...(moved.has(i) ? directlyBelow(other) : other),
      parent,
      hostBridge: above.hostBridge,
      numaNode: above.numaNode,
    };
  }
  const count = below.size === 1 ? "" : ` with all ${String(below.size)} functions of it`;
  return `${fn.address}${count} below ${above.address}`;
}

/** The bridge that the input does not show is no longer between a moved function and its port. */
function directlyBelow({ hiddenUpstream: _hidden, ...rest }: PciFunctionInfo): PciFunctionInfo {
  return rest;
}
