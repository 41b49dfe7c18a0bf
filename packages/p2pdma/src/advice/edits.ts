import { DmaBufError } from "@peerbar/core";
import { formatBus } from "../address.js";
import { trustRisk } from "../decision.js";
import { judgeHostBridge } from "../host-bridge-list.js";
import { computeIommuGroups } from "../iommu-groups.js";
import { type FunctionRef, PciTopology } from "../pci-topology.js";
import {
  ACS_REDIRECT,
  type AcsInfo,
  acsBits,
  type CpuKind,
  type PciFunctionInfo,
} from "../topology.js";
import { withoutRedirect } from "./fixes.js";
import { hasIommu } from "./iommu-state.js";
import { moveDevice } from "./move.js";

/** One change to a machine. */
export type TopologyEdit =
  /** ACS control of one function: 16 bits, `off` (no redirect bit), or `on` (what the kernel sets with an IOMMU, p2pdma R33). */
  | { readonly kind: "acs"; readonly at: FunctionRef; readonly control: number | "off" | "on" }
  /** IOMMU off, with identity domains, or with translating domains: ACS of all functions follows (p2pdma R33, R34). */
  | { readonly kind: "iommu"; readonly mode: "off" | "passthrough" | "on" }
  /** Host bridges are trusted whatever the kernel's list says: all, or those with these root buses (`0000:80`). */
  | { readonly kind: "trust-host-bridge"; readonly roots?: readonly string[] }
  /** A device, with all functions, goes below another port. */
  | { readonly kind: "move"; readonly device: FunctionRef; readonly port: FunctionRef }
  | { readonly kind: "cpu"; readonly cpu: CpuKind };

/** A machine after edits. */
export interface EditedTopology {
  readonly topology: PciTopology;
  readonly cpu: CpuKind | undefined;
  readonly trust: "all" | readonly string[] | undefined;
  /** What was changed, a phrase for each edit. */
  readonly changes: readonly string[];
  /** What the result takes for granted, a sentence each. */
  readonly assumptions: readonly string[];
  /** Dangers of the edits: traffic may be lost or corrupted without an error. */
  readonly risks: readonly string[];
}

/** SV | RR | CR | UF: what the kernel sets on each function with ACS when an IOMMU is in use (p2pdma R33). */
export const KERNEL_ACS = acsBits.SV | acsBits.RR | acsBits.CR | acsBits.UF;

function refuse(reason: string, hint: string): DmaBufError {
  return new DmaBufError("EINVAL", "p2pdma.whatIf", reason, { hint });
}

/**
 * A copy of a machine with edits made one after the other. Addresses stay as they are, also of what moves, so that before and after can
 * be compared.
 *
 * @throws DmaBufError `ENODEV` when a function is not there; `EINVAL` when an edit cannot be made: ACS where there is none or bits that
 *   the capability lacks, a move below what is no port or below the device itself, a move of a virtual function
 */
export function applyEdits(topology: PciTopology, edits: readonly TopologyEdit[]): EditedTopology {
  const editor = new Editor(topology);
  for (const edit of edits) editor.apply(edit);
  return editor.result();
}

class Editor {
  readonly #source: PciTopology;
  readonly #changes: string[] = [];
  readonly #assumptions = new Set<string>();
  readonly #risks = new Set<string>();
  #functions: PciFunctionInfo[];
  #cpu: CpuKind | undefined;
  #trust: "all" | readonly string[] | undefined;
  #iommu: "off" | "passthrough" | "on" | undefined;

  constructor(topology: PciTopology) {
    this.#source = topology;
    this.#functions = [...topology.functions];
  }

  apply(edit: TopologyEdit): void {
    switch (edit.kind) {
      case "acs":
        this.#setAcs(edit.at, edit.control);
        break;
      case "iommu":
        this.#setIommu(edit.mode);
        break;
      case "trust-host-bridge":
        this.#setTrust(edit.roots);
        break;
      case "move":
        this.#move(edit.device, edit.port);
        break;
      case "cpu":
        this.#cpu = edit.cpu;
        this.#changes.push(`CPU ${edit.cpu}`);
        break;
    }
  }

  result(): EditedTopology {
    const { hostBridges, source } = this.#source;
    const bare = new PciTopology({
      functions: this.#functions,
      hostBridges,
      source,
      machine: this.#source.machine,
      iommuGroups: this.#source.iommuGroups,
    });
    return {
      topology: this.#iommu === undefined ? bare : withIommu(bare, this.#iommu),
      cpu: this.#cpu,
      trust: this.#trust,
      changes: this.#changes,
      assumptions: [...this.#assumptions],
      risks: [...this.#risks],
    };
  }

  #setAcs(at: FunctionRef, control: number | "off" | "on"): void {
    const index = this.#source.resolve(at);
    const fn = this.#functions[index];
    if (fn === undefined) return;
    if (fn.acs.state === "none") {
      throw refuse(`${fn.address} has no ACS to set`, "name a port that has it");
    }
    if (this.#source.functions[index]?.acs.state === "unknown") {
      this.#assumptions.add(`${fn.address} has an ACS capability: the input does not show it`);
    }
    this.#functions[index] = { ...fn, acs: this.#newAcs(fn, control) };
    const words = typeof control === "number" ? `0x${control.toString(16)}` : control;
    this.#changes.push(`ACS of ${fn.address} ${words}`);
  }

  #newAcs(fn: PciFunctionInfo, control: number | "off" | "on"): AcsInfo {
    if (control === "on") return kernelAcs(fn);
    if (control === "off") {
      return fn.acs.state === "present"
        ? withoutRedirect(fn.acs)
        : { state: "present", control: 0, capability: undefined };
    }
    if (!Number.isInteger(control) || control < 0 || control > 0xffff) {
      throw refuse("an ACS control register has 16 bits", "give a number from 0 to 0xffff");
    }
    const capability = fn.acs.state === "present" ? fn.acs.capability : undefined;
    const lacking = capability === undefined ? 0 : control & 0x7f & ~capability;
    if (lacking !== 0) {
      throw refuse(
        `${fn.address} cannot set ACS bits 0x${lacking.toString(16)}: its capability is 0x${(capability ?? 0).toString(16)}`,
        "bits that the capability lacks read as zero whatever is written",
      );
    }
    return { state: "present", control, capability };
  }

  #setIommu(mode: "off" | "passthrough" | "on"): void {
    const had = this.#iommu === undefined ? hasIommu(this.#source) : this.#iommu !== "off";
    this.#iommu = mode;
    const words = {
      off: "IOMMU off",
      passthrough: "IOMMU on, identity domains",
      on: "IOMMU on, translating domains",
    };
    this.#changes.push(words[mode]);
    if (mode !== "off") {
      this.#mapAcs(kernelAcs);
      this.#assumptions.add(
        "with an IOMMU the kernel sets SV, RR, CR and UF on every function that has them (p2pdma R33), with no pci= parameter against it",
      );
      return;
    }
    if (had === false) {
      this.#assumptions.add(
        "there is no IOMMU to turn off: ACS is as the firmware set it already (p2pdma R34)",
      );
      return;
    }
    this.#mapAcs(firmwareAcs);
    this.#assumptions.add(
      "without an IOMMU ACS stays as the firmware set it (p2pdma R34), which cannot be seen where the kernel may have set RR or CR: --acs says what it is to be",
    );
  }

  /** Sets the ACS of every function whose setting is known. */
  #mapAcs(change: (fn: PciFunctionInfo) => AcsInfo): void {
    this.#functions = this.#functions.map((fn) =>
      fn.acs.state === "present" ? { ...fn, acs: change(fn) } : fn,
    );
  }

  #setTrust(roots: readonly string[] | undefined): void {
    const { hostBridges } = this.#source;
    const known = new Set(hostBridges.map((host) => formatBus(host.domain, host.bus)));
    const strange = roots?.find((root) => !known.has(root));
    if (strange !== undefined) {
      throw refuse(`no root bus ${strange}`, `root buses here: ${[...known].join(", ")}`);
    }
    this.#trust =
      roots === undefined || this.#trust === "all" ? "all" : [...(this.#trust ?? []), ...roots];
    const which = roots === undefined ? "every host bridge" : `host bridge ${roots.join(", ")}`;
    this.#changes.push(`${which} trusted to pass peer traffic on`);
    const trusted = hostBridges.flatMap((host, index) =>
      roots?.includes(formatBus(host.domain, host.bus)) === false
        ? []
        : [judgeHostBridge(this.#source, index)],
    );
    this.#risks.add(trustRisk(trusted.filter((host) => host.listed !== true || host.sameOnly)));
  }

  #move(device: FunctionRef, port: FunctionRef): void {
    const moved = moveDevice(
      this.#functions,
      this.#source.resolve(device),
      this.#source.resolve(port),
    );
    this.#functions = moved.functions;
    this.#changes.push(moved.change);
    this.#assumptions.add(
      "what moves keeps its address here, for comparison; a real machine numbers its buses anew",
    );
  }
}

/** What the kernel's default adds, as far as the function has it. Where the capability is not shown, ports have all four bits. */
function kernelAcs(fn: PciFunctionInfo): AcsInfo {
  const capability = fn.acs.state === "present" ? fn.acs.capability : undefined;
  const control = fn.acs.state === "present" ? fn.acs.control : 0;
  const isPort = fn.portType === "root-port" || fn.portType === "switch-downstream";
  const wanted = KERNEL_ACS & (capability ?? (isPort ? KERNEL_ACS : 0));
  return { state: "present", control: control | wanted, capability };
}

/**
 * What is left of a setting without the kernel's default. RR and CR may be the kernel's, or the firmware's too; EC never is the kernel's, and
 * what is clear stays clear.
 */
function firmwareAcs(fn: PciFunctionInfo): AcsInfo {
  const control = fn.acs.state === "present" ? fn.acs.control : 0;
  const mayBeKernels = (control & KERNEL_ACS & ACS_REDIRECT) !== 0;
  if (!mayBeKernels || (control & acsBits.EC) !== 0) return fn.acs;
  return {
    state: "unknown",
    why: "the firmware's setting shows only where the kernel runs without an IOMMU",
  };
}

/** Groups and domain types as they would be. */
function withIommu(topology: PciTopology, mode: "off" | "passthrough" | "on"): PciTopology {
  const { functions, hostBridges, source, machine } = topology;
  const info = machine ?? { cpu: "unknown" as const, cpuEvidence: undefined };
  const groups = mode === "off" ? undefined : computeIommuGroups(topology);
  const type = mode === "passthrough" ? "identity" : "DMA-FQ";
  return new PciTopology({
    functions: functions.map((fn, index) => ({ ...fn, iommuGroup: groups?.groupOf[index] })),
    hostBridges,
    source,
    machine: { ...info, iommu: mode !== "off" },
    iommuGroups: groups?.groups.map((_, id) => ({ id, type })) ?? [],
  });
}
