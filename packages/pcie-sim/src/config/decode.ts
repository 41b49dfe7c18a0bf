import { pciRegs as reg } from "@peerbar/p2pdma";
import type { SimBar } from "../bar.js";
import type { FabricNode } from "../fabric/node.js";
import type { ConfigSpace } from "./config-space.js";
import * as place from "./places.js";
import { readMemoryWindows } from "./read-windows.js";

/** True where the function has the power management capability. */
function managesPower(config: ConfigSpace): boolean {
  return config.get(place.PM_CAPABILITY, 1) === reg.PCI_CAP_ID_PM;
}

/** Power state in PMCSR: 0 to 3. */
export function powerBits(config: ConfigSpace): 0 | 1 | 2 | 3 {
  if (!managesPower(config)) return 0;
  return (config.get(place.PMCSR, 1) & reg.PCI_PM_CTRL_STATE_MASK) as 0 | 1 | 2 | 3;
}

/** Puts a function into D0 by its own register. */
export function wake(config: ConfigSpace): void {
  if (managesPower(config)) {
    config.set(place.PMCSR, 1, config.get(place.PMCSR, 1) & ~reg.PCI_PM_CTRL_STATE_MASK);
  }
}

/** True for a write that sets the FLR bit of a function that has FLR; the bit is in the upper byte of device control. */
export function startsFlr(
  config: ConfigSpace,
  offset: number,
  size: number,
  value: number,
): boolean {
  const upper = place.DEVICE_CONTROL + 1;
  if (offset > upper || offset + size <= upper) return false;
  if (config.get(place.PCIE_CAPABILITY, 1) !== reg.PCI_CAP_ID_EXP) return false;
  if ((config.get(place.DEVICE_CAPABILITIES, 4) & reg.PCI_EXP_DEVCAP_FLR) === 0) return false;
  return ((value >>> (8 * (upper - offset))) & (reg.PCI_EXP_DEVCTL_BCR_FLR >> 8)) !== 0;
}

/** True while a bridge holds the bus behind it in reset. */
export function holdsReset(config: ConfigSpace, node: FabricNode): boolean {
  return (
    node.isBridge && (config.get(reg.PCI_BRIDGE_CONTROL, 2) & reg.PCI_BRIDGE_CTL_BUS_RESET) !== 0
  );
}

/** Takes decode, mastering, ACS, windows and BARs from the registers to where the fabric looks. */
export function applyRegisters(
  config: ConfigSpace,
  node: FabricNode,
  state: { readonly awake: boolean; readonly isVirtual: boolean; readonly hasBuses: boolean },
): void {
  const { awake, isVirtual, hasBuses } = state;
  const command = config.get(reg.PCI_COMMAND, 2);
  // Virtual functions decode whatever their command register says (vfio-pci-dmabuf R22).
  node.decodes = awake && (isVirtual || (command & reg.PCI_COMMAND_MEMORY) !== 0);
  node.masters = awake && (command & reg.PCI_COMMAND_MASTER) !== 0;
  if (config.get(place.ACS_CAPABILITY, 2) === reg.PCI_EXT_CAP_ID_ACS) {
    node.acs = config.get(place.ACS_CONTROL, 2);
    node.egressVector = config.get(place.ACS_EGRESS_VECTOR, 4);
  }
  if (node.isBridge) node.windows = readMemoryWindows(config);
  if (hasBuses) {
    node.secondaryBus = config.get(reg.PCI_SECONDARY_BUS, 1);
    node.subordinateBus = config.get(reg.PCI_SUBORDINATE_BUS, 1);
  }
  // The BARs of virtual functions have no registers of their own.
  if (!isVirtual) for (const bar of node.bars) bar.relocate(barAddress(config, bar));
  node.changed();
}

function barAddress(config: ConfigSpace, bar: SimBar): bigint {
  const offset = reg.PCI_BASE_ADDRESS_0 + 4 * bar.index;
  const low = BigInt(config.get(offset, 4)) & 0xffff_fff0n;
  return bar.is64Bit ? (BigInt(config.get(offset + 4, 4)) << 32n) | low : low;
}
