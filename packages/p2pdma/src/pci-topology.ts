import { DmaBufError } from "@peerbar/core";
import { formatPciAddress, parsePciAddress } from "./address.js";
import { Places } from "./places.js";
import type {
  HostBridgeInfo,
  IommuGroupInfo,
  MachineInfo,
  PciFunctionInfo,
  TopologySource,
} from "./topology.js";

/** A function of a topology: its index, its address (`03:00.0` or full), a device name (`nvme0`, `mlx5_0`), or itself. */
export type FunctionRef = number | string | PciFunctionInfo;

/** Everything that a topology is made of. */
export interface PciTopologyData {
  readonly functions: readonly PciFunctionInfo[];
  readonly hostBridges: readonly HostBridgeInfo[];
  readonly source: TopologySource;
  readonly machine?: MachineInfo | undefined;
  readonly iommuGroups?: readonly IommuGroupInfo[];
}

/**
 * The PCI functions of one machine, linked to a tree. Immutable plain data: `parent`, `physfn` and `hostBridge` are indexes.
 *
 * Every parser ends here through the same assembly, so that a function's chain means the same whatever it was read from.
 */
export class PciTopology {
  /** All functions, sorted by address. */
  readonly functions: readonly PciFunctionInfo[];
  /** One for each root bus, sorted by domain and bus. */
  readonly hostBridges: readonly HostBridgeInfo[];
  readonly source: TopologySource;
  /** Undefined where the input says nothing of the machine: see {@link inferCpu}. */
  readonly machine: MachineInfo | undefined;
  /** IOMMU groups with their domain type; empty where the input does not show them. */
  readonly iommuGroups: readonly IommuGroupInfo[];
  readonly #places: Places;

  /** @param data - checked and sorted already: what parsers, the generator and captures give */
  constructor(data: PciTopologyData) {
    this.functions = data.functions;
    this.hostBridges = data.hostBridges;
    this.source = data.source;
    this.machine = data.machine;
    this.iommuGroups = data.iommuGroups ?? [];
    this.#places = new Places(data.functions);
  }

  /** Index of the function at an address, -1 where there is none. Without a domain: domain 0, else the one domain that has it. */
  indexOf(address: string): number {
    const exact = this.#places.of(address);
    if (exact !== undefined) return exact;
    const parsed = parsePciAddress(address);
    if (parsed === undefined) return -1;
    const full = this.#places.of(formatPciAddress(parsed));
    if (full !== undefined || address.split(":").length === 3) return full ?? -1;
    const suffix = formatPciAddress(parsed).slice(4);
    const matches = this.functions.filter((fn) => fn.address.endsWith(suffix));
    const [only] = matches;
    return matches.length === 1 && only !== undefined ? (this.#places.of(only.address) ?? -1) : -1;
  }

  /** The function at an address (`03:00.0` or full); undefined where there is none. */
  get(address: string): PciFunctionInfo | undefined {
    return this.functions[this.indexOf(address)];
  }

  /**
   * Index of a function by any reference, device names included.
   * @throws DmaBufError `ENODEV` when the topology has no such function, `EINVAL` when a name fits several.
   */
  resolve(ref: FunctionRef): number {
    if (typeof ref === "number") return this.#checkIndex(ref);
    const text = typeof ref === "string" ? ref : ref.address;
    const index = this.indexOf(text);
    if (index >= 0) return index;
    const named = this.functions.flatMap((fn, i) => (fn.deviceNames.includes(text) ? [i] : []));
    const [first] = named;
    if (first === undefined) {
      throw new DmaBufError(
        "ENODEV",
        "p2pdma.resolve",
        `${this.source.name} has no function ${text}`,
        {
          hint: "name a function by its PCI address, as lspci prints it: 03:00.0 or 0000:03:00.0",
        },
      );
    }
    if (named.length > 1) {
      const all = named.map((i) => this.functions[i]?.address ?? "").join(", ");
      throw new DmaBufError("EINVAL", "p2pdma.resolve", `${text} names several functions: ${all}`, {
        hint: "give the PCI address instead",
      });
    }
    return first;
  }

  /** The function of a reference. Errors as {@link resolve}. */
  at(ref: FunctionRef): PciFunctionInfo {
    const fn = this.functions[this.resolve(ref)];
    if (fn === undefined) throw new DmaBufError("ENODEV", "p2pdma.resolve", "no such function");
    return fn;
  }

  /** Functions with header type 0, host-bridge devices included: what a matrix of all pairs is made of. */
  endpoints(): readonly PciFunctionInfo[] {
    return this.functions.filter((fn) => fn.headerType === 0 || isHiddenEndpoint(fn));
  }

  /** Indexes of the functions right below a bridge, in address order. VFs are listed below their PF's bridge. */
  children(parent: number): readonly number[] {
    return this.functions.flatMap((fn, index) =>
      fn.parent === parent && parent >= 0 ? [index] : [],
    );
  }

  /** Indexes of the functions on a host bridge's root bus, in address order. */
  roots(hostBridge: number): readonly number[] {
    return this.functions.flatMap((fn, index) =>
      fn.parent < 0 && fn.hostBridge === hostBridge ? [index] : [],
    );
  }

  #checkIndex(index: number): number {
    if (Number.isInteger(index) && index >= 0 && index < this.functions.length) return index;
    throw new DmaBufError(
      "ENODEV",
      "p2pdma.resolve",
      `${this.source.name} has ${this.functions.length.toString()} functions, none with index ${index.toString()}`,
    );
  }
}

/** A function whose header type cannot be read (all ones, no details) counts as an endpoint unless it owns a bus. */
function isHiddenEndpoint(fn: PciFunctionInfo): boolean {
  return fn.headerType === undefined && fn.busNumbers === undefined;
}
