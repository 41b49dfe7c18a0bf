import { routingId } from "./address.js";
import { Places } from "./places.js";
import type { FunctionRecord } from "./record.js";

/**
 * Physical function of each virtual function, -1 for all others: by what the input names (sysfs `physfn`, a capture), else by the
 * SR-IOV capability of the PF (first VF offset and stride, PCI Express base spec 9.3.3).
 *
 * @param records - sorted by address
 */
export function linkVirtualFunctions(
  records: readonly FunctionRecord[],
  warnings: string[],
): Int32Array {
  const physfn = new Int32Array(records.length).fill(-1);
  const places = new Places(records);
  for (const [index, record] of records.entries()) {
    if (record.physfnAddress === undefined) continue;
    const pf = places.of(record.physfnAddress);
    if (pf === undefined || pf === index) {
      warnings.push(`${record.address}: its physical function ${record.physfnAddress} is not here`);
    } else physfn[index] = pf;
  }
  linkByCapability(records, physfn, warnings);
  for (const [index, pf] of physfn.entries()) {
    // A VF of a VF cannot be: broken input would otherwise make a chain of them.
    if (pf >= 0 && (physfn[pf] ?? -1) >= 0) physfn[index] = -1;
  }
  return physfn;
}

function linkByCapability(
  records: readonly FunctionRecord[],
  physfn: Int32Array,
  warnings: string[],
): void {
  if (!records.some(({ sriov }) => sriov !== undefined && sriov.offset !== 0)) return;
  const byDomain = new Map<number, Map<number, number>>();
  for (const [index, record] of records.entries()) {
    const ids = byDomain.get(record.domain) ?? new Map<number, number>();
    byDomain.set(record.domain, ids);
    ids.set(routingId(record.bus, record.slot, record.fn), index);
  }
  // A routing ID belongs to one PF, so honest numbers never add up to more steps than there are IDs in a domain.
  let budget = 0x1_0000 * Math.max(1, byDomain.size);
  for (const [index, record] of records.entries()) {
    const { sriov } = record;
    const ids = byDomain.get(record.domain);
    if (sriov === undefined || ids === undefined || sriov.offset === 0) continue;
    const base = routingId(record.bus, record.slot, record.fn) + sriov.offset;
    for (let n = 0; n < sriov.count; n += 1) {
      const id = base + n * sriov.stride;
      if (id > 0xffff || (n > 0 && sriov.stride === 0)) break;
      budget -= 1;
      if (budget < 0) {
        warnings.push(`${record.address}: SR-IOV numbers overlap; the rest are ignored`);
        return;
      }
      const vf = ids.get(id);
      if (vf !== undefined && vf !== index && (physfn[vf] ?? 0) < 0) {
        if (records[vf]?.physfnAddress === undefined) physfn[vf] = index;
      }
    }
  }
}
