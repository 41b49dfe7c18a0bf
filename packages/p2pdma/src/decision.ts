import type { HostBridgeVerdict } from "./host-bridge-list.js";
import type { AcsInfo, CpuKind, PciBarInfo } from "./topology.js";

/**
 * How the provider's BAR can be reached (p2pdma, section 1): at its bus address by way of switches, through the host bridge like any
 * DMA, or not at all.
 */
export type MapType = "bus-addr" | "thru-host-bridge" | "not-supported";

/** The kernel's numbers of the map types (include/linux/pci-p2pdma.h); 0 is "not computed", here "unknown". */
export const mapTypeCodes = {
  unknown: 0,
  "not-supported": 2,
  "bus-addr": 3,
  "thru-host-bridge": 4,
} as const;

/** One device on the way between two functions. */
export interface PathStep {
  readonly address: string;
  readonly acs: AcsInfo;
  /** RR, CR or EC is set; undefined where the input does not show it. */
  readonly redirects: boolean | undefined;
}

/**
 * The answer for one ordered pair, with everything that led to it.
 *
 * `mapType` is what Linux decides, or `unknown` where something that the input does not show could change it: then `possible` lists
 * the answers, and `acsUnknown`, `hostBridgeUnknown` or `cpuUnknown` say what is missing. `unknown` never means "fine".
 */
export interface P2pdmaDecision {
  /** The function whose BAR is reached. */
  readonly provider: string;
  /** The function that issues the DMA. */
  readonly client: string;
  readonly mapType: MapType | "unknown";
  /** Only where `mapType` is `unknown`. */
  readonly possible?: readonly MapType[];
  /** The answer if all that is unknown does not redirect, is not listed and is not there: a best guess, no promise. */
  readonly mapTypeAsShown: MapType;
  /** Devices on the way from provider to client, counted as the kernel does (p2pdma R8, R9, R13); also where not supported. */
  readonly distance: number;
  /** A bridge on the way, or above where a way ends, is not in the input: the kernel may count more than `distance`. */
  readonly distanceAtLeast?: true;
  /**
   * Redirecting functions in kernel order: from the provider up to and including the common ancestor, then from the client up to
   * below it. Empty without a common ancestor, where ACS has no part in the answer.
   */
  readonly acsRedirect: readonly string[];
  /** Functions of the same path, in the same order, whose ACS the input does not show. Only when not empty. */
  readonly acsUnknown?: readonly string[];
  /** The host bridges matter and the input does not show enough of them. */
  readonly hostBridgeUnknown?: true;
  /** The CPU matters and nobody named it. */
  readonly cpuUnknown?: true;
  /** A bridge on the way is not in the input at all. */
  readonly bridgeHidden?: true;
  /** One English sentence that names the rule, port or bridge that decides. */
  readonly reason: string;
  /** Rule of the specification that decides: `p2pdma R9`. */
  readonly rule: string;
  /** First bridge (or function) on both upstream chains. */
  readonly commonAncestor: string | undefined;
  /** Provider up to and including the common ancestor; the whole chain without one. */
  readonly upPath: readonly PathStep[];
  /** Client up to below the common ancestor; the whole chain without one. */
  readonly downPath: readonly PathStep[];
  /** The pair's host bridges on the kernel's list: provider's, client's (the same object where it is the same bridge). */
  readonly hostBridges: readonly [HostBridgeVerdict, HostBridgeVerdict];
  readonly cpu: CpuKind;
  /** Only where the answer rests on a host bridge that an override trusts: what that may do. */
  readonly risk?: string;
}

/** Why it is dangerous to trust a host bridge against the kernel's list. */
export const TRUST_RISK =
  "a host bridge that is not on the list may drop or corrupt peer traffic without an error: the list has those that are known to pass it on";

/** The same for a host bridge that is on the list with the flag of Sandy Bridge and Haswell: for devices below itself. */
const SAME_ONLY_RISK =
  "a host bridge that the list has for devices below itself only may drop or corrupt traffic to another host bridge without an error";

/** What trusting host bridges may do, by what the kernel's own list says of them. */
export function trustRisk(hosts: readonly HostBridgeVerdict[]): string {
  return hosts.length > 0 && hosts.every((host) => host.listed === true)
    ? SAME_ONLY_RISK
    : TRUST_RISK;
}

/** One BAR that peers can be given (p2pdma R2): a slot of `struct p2pdma_provider`. */
export interface P2pdmaProvider {
  /** Address of the function that owns the BAR. */
  readonly owner: string;
  /** Number of the BAR, 0 to 5. */
  readonly bar: number;
  /** Bytes to add to a CPU physical address for the bus address, as a 64-bit wrapping difference (p2pdma R3, R5). */
  readonly busOffset: bigint;
}

/** One BAR of a function as peers see it. */
export interface ProviderBar {
  readonly bar: PciBarInfo;
  /** Memory BARs can be given to peers; I/O BARs cannot. */
  readonly isProvider: boolean;
  /** As {@link P2pdmaProvider.busOffset}; 0 where it is no provider. */
  readonly busOffset: bigint;
}
