import { busKey } from "./address.js";
import type { FunctionRecord } from "./record.js";

/**
 * Judges whether a bus without a bridge above it is a root bus whose first function the input shows. Where it is not, nothing can
 * be said of the host bridge: a pasted `lspci -s 65:00.0` must not turn bus 65 into a host bridge (p2pdma R29 in spirit).
 *
 * Evidence against: switch ports and endpoints, which sit behind a port; a listing that begins in the middle or lost a function; bus 00
 * of domain 0 without device 00.0 on a PCI Express machine, which looks like a listing whose head was cut off. Evidence for: functions
 * that only a root complex has. Otherwise a bus is believed when the listing is a whole one, that is when it has a bus 00 that is. Bus 00
 * of another domain may well begin with a root port (Intel VMD).
 */
export function inferRootComplete(
  records: readonly FunctionRecord[],
  damage: { readonly headTruncated?: boolean; readonly blocksLost?: boolean },
): (members: readonly number[]) => boolean {
  const rootMembers = new Map<number, FunctionRecord[]>();
  for (const record of records) {
    const key = busKey(record.domain, record.bus);
    const list = rootMembers.get(key);
    if (list === undefined) rootMembers.set(key, [record]);
    else list.push(record);
  }
  const wholeListing = [...rootMembers.values()].some(
    (list) => list[0]?.bus === 0 && isWholeBusZero(list),
  );
  // lspci lists domain 0 first: what shows its first function was not cut off at the head.
  const [head] = rootMembers.get(busKey(0, 0)) ?? [];
  const headShown = head !== undefined && isDeviceZero(head);
  // A bridge whose bus numbers are not shown may own any bus of its domain.
  const unnumbered = new Set(
    records
      .filter((record) => record.headerType === 1 && record.busNumbers === undefined)
      .map((record) => record.domain),
  );
  const firstListed = damage.headTruncated === true ? records[0] : undefined;
  return (members) => {
    const functions = members.flatMap((index) => records[index] ?? []);
    const [first] = functions;
    if (first === undefined) return false;
    if (firstListed !== undefined && functions.includes(firstListed) && !isDeviceZero(first))
      return false;
    if (damage.blocksLost === true && !isDeviceZero(first)) return false;
    if (functions.some(isBehindPort)) return false;
    if (first.bus === 0) return isWholeBusZero(functions) || (first.domain !== 0 && headShown);
    if (isDeviceZero(first) && functions.some(isRootComplexFunction)) return true;
    if (mayBeCard(functions)) return false;
    return wholeListing && damage.blocksLost !== true && !unnumbered.has(first.domain);
  };
}

function isDeviceZero(record: FunctionRecord): boolean {
  return record.slot === 0 && record.fn === 0;
}

/** Every PCI Express machine and every x86 has a function 00:00.0; old bridges-only machines need not. */
function isWholeBusZero(functions: readonly FunctionRecord[]): boolean {
  const [first] = functions;
  if (first === undefined) return false;
  return isDeviceZero(first) || functions.every((record) => record.portType === "none");
}

function isRootComplexFunction(record: FunctionRecord): boolean {
  return (
    record.portType === "root-port" ||
    record.portType === "rc-integrated-endpoint" ||
    record.portType === "rc-event-collector" ||
    (record.classCode !== undefined && record.classCode >>> 8 === 0x0600)
  );
}

/** Switch ports never sit on a root bus. Endpoints do in virtual machines, but then on bus 00. */
function isBehindPort(record: FunctionRecord): boolean {
  if (record.portType === "switch-upstream" || record.portType === "switch-downstream") return true;
  const endpoint = record.portType === "endpoint" || record.portType === "legacy-endpoint";
  return endpoint && record.bus !== 0;
}

/** A card behind a port is the only device of its bus: where nothing says what it is, it may be one whose port is not listed. */
function mayBeCard(functions: readonly FunctionRecord[]): boolean {
  return functions.every((record) => record.slot === 0 && record.portType === undefined);
}
