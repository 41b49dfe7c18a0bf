import { formatPciAddress, parsePciAddress } from "../src/address.js";
import { assemble } from "../src/assemble.js";
import type { AcsInfo, PciTopology, PortType } from "../src/index.js";
import { emptyRecord, type FunctionRecord } from "../src/record.js";

/** One function of a test machine. ACS is a control word, "none" or "unknown". */
export interface Fn {
  readonly at: string;
  readonly id?: string;
  readonly type?: PortType | "none";
  /** Bus numbers of a bridge: secondary and subordinate, in hexadecimal. */
  readonly buses?: string;
  readonly acs?: number | "none" | "unknown";
  readonly classCode?: number;
  readonly physfn?: string;
  /** Bit 7 of the header type; not shown by default. */
  readonly multi?: boolean;
}

export function acsInfo(acs: number | "none" | "unknown"): AcsInfo {
  if (acs === "none") return { state: "none" };
  if (acs === "unknown") return { state: "unknown", why: "test" };
  return { state: "present", control: acs, capability: 0x7f };
}

function record(fn: Fn): FunctionRecord {
  const address = parsePciAddress(fn.at);
  if (address === undefined) throw new Error(`not an address: ${fn.at}`);
  const result = emptyRecord(address);
  const [vendor = "", device = ""] = (fn.id ?? "1af4:1000").split(":");
  result.vendorId = Number.parseInt(vendor, 16);
  result.deviceId = Number.parseInt(device, 16);
  result.classCode = fn.classCode ?? (fn.buses === undefined ? 0x020000 : 0x060400);
  result.headerType = fn.buses === undefined ? 0 : 1;
  result.portType = fn.type ?? (fn.buses === undefined ? "endpoint" : "switch-downstream");
  result.acs = acsInfo(fn.acs ?? "none");
  result.multiFunction = fn.multi;
  const pf = parsePciAddress(fn.physfn ?? "");
  result.physfnAddress = pf === undefined ? undefined : formatPciAddress(pf);
  if (fn.buses !== undefined) {
    const [secondary = 0, subordinate = 0] = fn.buses.split("-").map((n) => Number.parseInt(n, 16));
    result.busNumbers = { primary: address.bus, secondary, subordinate };
  }
  return result;
}

/** A machine from its functions. Root buses are complete unless `complete` says otherwise. */
export function machine(functions: readonly Fn[], complete?: boolean): PciTopology {
  const records = functions.map(record);
  const options = { source: { format: "generated" as const, name: "test", missing: [] } };
  const topology = assemble(records, options);
  return assemble(records, {
    ...options,
    roots: topology.hostBridges.map((host) => ({ ...host, complete: complete ?? true })),
  });
}

/** A host bridge device: first on its root bus. */
export function host(at: string, id: string): Fn {
  return { at, id, type: "rc-integrated-endpoint", classCode: 0x060000 };
}

/** Root port, switch with two downstream ports, an endpoint below each: the endpoints are 04:00.0 and 05:00.0. */
export function switchMachine(options: {
  readonly hostId?: string;
  readonly left?: number | "unknown";
  readonly right?: number | "unknown";
  readonly upstream?: number;
  readonly root?: number;
  readonly endpoint?: number;
}): PciTopology {
  return machine([
    host("00:00.0", options.hostId ?? "8086:1234"),
    { at: "00:01.0", type: "root-port", buses: "01-05", acs: options.root ?? "none" },
    { at: "01:00.0", type: "switch-upstream", buses: "02-05", acs: options.upstream ?? "none" },
    { at: "02:00.0", buses: "04-04", acs: options.left ?? "none" },
    { at: "02:01.0", buses: "05-05", acs: options.right ?? "none" },
    { at: "04:00.0", acs: options.endpoint ?? "none" },
    { at: "05:00.0" },
  ]);
}
