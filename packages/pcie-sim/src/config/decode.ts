import type { SimBar } from "../bar.js";
import type { FabricNode } from "../fabric/node.js";
import type { ConfigSpace } from "./config-space.js";
import { readMemoryWindows } from "./read-windows.js";
import * as reg from "./registers.js";

/** True where the function has the power management capability. */
function managesPower(config: ConfigSpace): boolean {
  return config.get(reg.PM_CAPABILITY, 1) === reg.PM_CAPABILITY_ID;
}

/** Power state in PMCSR: 0 to 3. */
export function powerBits(config: ConfigSpace): 0 | 1 | 2 | 3 {
  if (!managesPower(config)) return 0;
  return (config.get(reg.PMCSR, 1) & reg.PMCSR_STATE) as 0 | 1 | 2 | 3;
}

/** Puts a function into D0 by its own register. */
export function wake(config: ConfigSpace): void {
  if (managesPower(config)) {
    config.set(reg.PMCSR, 1, config.get(reg.PMCSR, 1) & ~reg.PMCSR_STATE);
  }
}

/** True for a write that sets the FLR bit of a function that has FLR; the bit is in the upper byte of device control. */
export function startsFlr(
  config: ConfigSpace,
  offset: number,
  size: number,
  value: number,
): boolean {
  const upper = reg.DEVICE_CONTROL + 1;
  if (offset > upper || offset + size <= upper) return false;
  if (config.get(reg.PCIE_CAPABILITY, 1) !== reg.PCIE_CAPABILITY_ID) return false;
  if ((config.get(reg.DEVICE_CAPABILITIES, 4) & reg.DEVICE_CAPABILITIES_FLR) === 0) return false;
  return ((value >>> (8 * (upper - offset))) & (reg.DEVICE_CONTROL_FLR >> 8)) !== 0;
}

/** True while a bridge holds the bus behind it in reset. */
export function holdsReset(config: ConfigSpace, node: FabricNode): boolean {
  return node.isBridge && (config.get(reg.BRIDGE_CONTROL, 2) & reg.BRIDGE_RESET) !== 0;
}

/** Takes decode, mastering, ACS, windows and BARs from the registers to where the fabric looks. */
export function applyRegisters(
  config: ConfigSpace,
  node: FabricNode,
  state: { readonly awake: boolean; readonly isVirtual: boolean; readonly hasBuses: boolean },
): void {
  const { awake, isVirtual, hasBuses } = state;
  const command = config.get(reg.COMMAND, 2);
  // Virtual functions decode whatever their command register says (vfio-pci-dmabuf R22).
  node.decodes = awake && (isVirtual || (command & reg.COMMAND_MEMORY) !== 0);
  node.masters = awake && (command & reg.COMMAND_MASTER) !== 0;
  if (config.get(reg.ACS_CAPABILITY, 2) === reg.ACS_CAPABILITY_ID) {
    node.acs = config.get(reg.ACS_CONTROL, 2);
    node.egressVector = config.get(reg.ACS_EGRESS_VECTOR, 4);
  }
  if (node.isBridge) node.windows = readMemoryWindows(config);
  if (hasBuses) {
    node.secondaryBus = config.get(reg.PRIMARY_BUS + 1, 1);
    node.subordinateBus = config.get(reg.PRIMARY_BUS + 2, 1);
  }
  // The BARs of virtual functions have no registers of their own.
  if (!isVirtual) for (const bar of node.bars) bar.relocate(barAddress(config, bar));
  node.changed();
}

function barAddress(config: ConfigSpace, bar: SimBar): bigint {
  const offset = reg.BAR_0 + 4 * bar.index;
  const low = BigInt(config.get(offset, 4)) & 0xffff_fff0n;
  return bar.is64Bit ? (BigInt(config.get(offset + 4, 4)) << 32n) | low : low;
}
