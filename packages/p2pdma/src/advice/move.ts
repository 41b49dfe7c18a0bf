import { DmaBufError } from "@peerbar/core";
import type { PciFunctionInfo } from "../topology.js";

function refuse(reason: string, hint: string): DmaBufError {
  return new DmaBufError("EINVAL", "p2pdma.whatIf", reason, { hint });
}

/**
 * Puts a device below another port: all functions of the device, its VFs, and what is below them.
 *
 * @throws DmaBufError `EINVAL` when nothing can be plugged in below the port, the port is below the device, or the device cannot be
 *   unplugged: a virtual function, or a part of the root complex or of a switch
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
  const others = below.size - 1;
  const count =
    others === 0 ? "" : ` and ${others.toString()} function${others === 1 ? "" : "s"} with it`;
  return { functions: result, change: `${fn.address}${count} below ${above.address}` };
}

function checkMove(
  functions: readonly PciFunctionInfo[],
  fn: PciFunctionInfo,
  device: number,
  above: PciFunctionInfo,
  port: number,
): void {
  const noSlot = whyNoSlot(above);
  if (noSlot !== undefined) {
    throw refuse(
      `nothing can be plugged in below ${above.address}: ${noSlot}`,
      "name a root port or a switch's downstream port",
    );
  }
  if (fn.physfn >= 0) {
    throw refuse(
      `${fn.address} is a virtual function`,
      `move its physical function ${functions[fn.physfn]?.address ?? ""}`,
    );
  }
  const fixed = whyFixed(fn);
  if (fixed !== undefined) {
    throw refuse(`${fn.address} cannot be moved: ${fixed}`, "name a device that sits in a slot");
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

/** Why nothing can be plugged in below a function; undefined where something can. */
export function whyNoSlot(port: PciFunctionInfo): string | undefined {
  if (port.headerType !== 1) return "it is no port";
  return port.portType === "switch-upstream" ? "it is the upstream port of a switch" : undefined;
}

/** Port types that are soldered, so to speak. */
const fixedPorts: Partial<Record<NonNullable<PciFunctionInfo["portType"]>, string>> = {
  "root-port": "it is a root port",
  "switch-downstream": "it is a port of a switch, which moves as a whole by its upstream port",
  "rc-integrated-endpoint": "it is a part of the root complex",
  "rc-event-collector": "it is a part of the root complex",
};

/** Why a function is where it is for good; undefined for what may sit in a slot. */
export function whyFixed(fn: PciFunctionInfo): string | undefined {
  const fixed = fn.portType === undefined ? undefined : fixedPorts[fn.portType];
  if (fixed !== undefined) return fixed;
  const isHost = fn.classCode !== undefined && fn.classCode >>> 8 === 0x0600;
  if (isHost) return "it is a host bridge";
  return fn.parent < 0 && fn.portType === "none" ? "it is a part of the root complex" : undefined;
}
