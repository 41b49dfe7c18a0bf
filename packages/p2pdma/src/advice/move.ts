import { DmaBufError } from "@peerbar/core";
import type { PciFunctionInfo } from "../topology.js";

function refuse(reason: string, hint: string): DmaBufError {
  return new DmaBufError("EINVAL", "p2pdma.whatIf", reason, { hint });
}

/**
 * Puts a device below another port: all functions of the device, its VFs, and what is below them.
 *
 * @throws DmaBufError `EINVAL` when the port is none, is below the device, or the device is a virtual function
 */
export function moveDevice(
  functions: readonly PciFunctionInfo[],
  device: number,
  port: number,
): { functions: PciFunctionInfo[]; change: string } {
  const fn = functions[device];
  const above = functions[port];
  if (fn === undefined || above === undefined) throw refuse("no such function", "name another");
  checkMove(functions, fn, device, above, port);
  const moved = functionsOfDevice(functions, fn);
  const below = withAllBelow(functions, moved);
  const result = functions.map((other, index): PciFunctionInfo => {
    if (!below.has(index)) return other;
    const { hiddenUpstream, ...rest } = other;
    const place = { hostBridge: above.hostBridge, numaNode: above.numaNode };
    // The bridge that the input does not show is no longer between a moved function and its port.
    if (moved.has(index)) return { ...rest, ...place, parent: port };
    return { ...rest, ...place, ...(hiddenUpstream === true ? { hiddenUpstream } : {}) };
  });
  const count = below.size === 1 ? "" : ` and ${(below.size - 1).toString()} functions with it`;
  return { functions: result, change: `${fn.address}${count} below ${above.address}` };
}

function checkMove(
  functions: readonly PciFunctionInfo[],
  fn: PciFunctionInfo,
  device: number,
  above: PciFunctionInfo,
  port: number,
): void {
  if (above.headerType !== 1 || above.portType === "switch-upstream") {
    throw refuse(
      `nothing can be plugged in below ${above.address}`,
      "name a root port or a switch's downstream port",
    );
  }
  if (fn.physfn >= 0) {
    throw refuse(
      `${fn.address} is a virtual function`,
      `move its physical function ${functions[fn.physfn]?.address ?? ""}`,
    );
  }
  for (let at = port; at >= 0; at = functions[at]?.parent ?? -1) {
    if (at === device) {
      throw refuse(`${above.address} is below ${fn.address} itself`, "name a port elsewhere");
    }
  }
}

/** Indexes of all functions in a device's slot, and their VFs. */
function functionsOfDevice(
  functions: readonly PciFunctionInfo[],
  fn: PciFunctionInfo,
): Set<number> {
  const slot = fn.address.slice(0, -2);
  const members = new Set<number>();
  for (const [index, other] of functions.entries()) {
    const owner = functions[other.physfn] ?? other;
    if (owner.address.slice(0, -2) === slot) members.add(index);
  }
  return members;
}

function withAllBelow(
  functions: readonly PciFunctionInfo[],
  roots: ReadonlySet<number>,
): Set<number> {
  const below = new Set(roots);
  for (const [index] of functions.entries()) {
    for (let at = index; at >= 0; at = functions[at]?.parent ?? -1) {
      if (!roots.has(at)) continue;
      below.add(index);
      break;
    }
  }
  return below;
}
