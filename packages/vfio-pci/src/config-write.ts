import type { PciFunction, PciPowerState } from "@peerbar/core";
import { pciRegs as reg } from "@peerbar/p2pdma";
import type { Capabilities } from "./capabilities.js";

/** One aligned access, as vfio chops them: `bytes` at `offset`, little-endian in `value`. */
export interface ConfigAccess {
  readonly offset: number;
  readonly size: 1 | 2 | 4;
  readonly value: number;
}

/** What a config write asks for beyond storing bits (vfio-pci-dmabuf, triggers). */
export type ConfigTrigger =
  | { readonly kind: "command"; readonly memory: boolean }
  | { readonly kind: "power"; readonly state: PciPowerState }
  | { readonly kind: "flr"; readonly by: "express" | "af" };

/** Function-level reset of Advanced Features needs both. */
const AF_CAP_TP_FLR = reg.PCI_AF_CAP_TP | reg.PCI_AF_CAP_FLR;

/** Cuts an access into aligned pieces of 4, 2 or 1 bytes, in rising order: only aligned ones reach the handlers. */
export function chop(offset: number, size: 1 | 2 | 4, value: number): ConfigAccess[] {
  const pieces: ConfigAccess[] = [];
  for (let done = 0; done < size; ) {
    const at = offset + done;
    const left = Math.min(size - done, 4 - (at % 4));
    const piece = left >= 4 && at % 4 === 0 ? 4 : left >= 2 && at % 2 === 0 ? 2 : 1;
    const bits = Math.floor((value >>> 0) / 2 ** (8 * done)) % 2 ** (8 * piece);
    pieces.push({ offset: at, size: piece, value: bits });
    done += piece;
  }
  return pieces;
}

/** The trigger in one aligned access, if any. Capabilities are read where the kernel reads them: now. */
export function triggerOf(
  fn: PciFunction,
  { pm, express, af }: Capabilities,
  access: ConfigAccess,
): ConfigTrigger | undefined {
  // Only an access that begins at 4 counts: a byte written at 5 does not (vfio-pci-dmabuf R23).
  if (access.offset === reg.PCI_COMMAND) {
    return { kind: "command", memory: (access.value & reg.PCI_COMMAND_MEMORY) !== 0 };
  }
  if (pm !== undefined && access.offset === pm + reg.PCI_PM_CTRL) {
    return { kind: "power", state: (access.value & reg.PCI_PM_CTRL_STATE_MASK) as 0 | 1 | 2 | 3 };
  }
  if (
    express !== undefined &&
    (bitsAt(access, express + reg.PCI_EXP_DEVCTL, 2) & reg.PCI_EXP_DEVCTL_BCR_FLR) !== 0
  ) {
    const able = (fn.readConfig(express + reg.PCI_EXP_DEVCAP, 4) & reg.PCI_EXP_DEVCAP_FLR) !== 0;
    return able ? { kind: "flr", by: "express" } : undefined;
  }
  if (af !== undefined && (bitsAt(access, af + reg.PCI_AF_CTRL, 1) & reg.PCI_AF_CTRL_FLR) !== 0) {
    const able = (fn.readConfig(af + reg.PCI_AF_CAP, 1) & AF_CAP_TP_FLR) === AF_CAP_TP_FLR;
    return able ? { kind: "flr", by: "af" } : undefined;
  }
  return undefined;
}

/** The part of the access that lies in the register of `width` bytes at `at`; bits outside read 0. */
function bitsAt(access: ConfigAccess, at: number, width: number): number {
  let bits = 0;
  for (let i = 0; i < width; i++) {
    const byte = at + i - access.offset;
    if (byte < 0 || byte >= access.size) continue;
    bits |= ((access.value >>> (8 * byte)) & 0xff) << (8 * i);
  }
  return bits;
}

/** The same write with the bits taken out that only vfio acts on: the two FLR bits, and the power state (they are virtual). */
export function physicalValue(
  { pm, express, af }: Capabilities,
  access: ConfigAccess,
  powerNow: number,
): number {
  let { value } = access;
  if (express !== undefined)
    value = replace(
      access,
      value,
      express + reg.PCI_EXP_DEVCTL + 1,
      reg.PCI_EXP_DEVCTL_BCR_FLR >> 8,
      0,
    );
  if (af !== undefined)
    value = replace(access, value, af + reg.PCI_AF_CTRL, reg.PCI_AF_CTRL_FLR, 0);
  if (pm !== undefined)
    value = replace(access, value, pm + reg.PCI_PM_CTRL, reg.PCI_PM_CTRL_STATE_MASK, powerNow);
  return value;
}

/** Sets the bits `mask` of the byte at config offset `at`, where the access covers it. */
function replace(
  access: ConfigAccess,
  value: number,
  at: number,
  mask: number,
  bits: number,
): number {
  const byte = at - access.offset;
  if (byte < 0 || byte >= access.size) return value;
  const shift = 8 * byte;
  return ((value & ~(mask << shift)) | ((bits & mask) << shift)) >>> 0;
}
