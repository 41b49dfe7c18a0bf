import { pciRegs } from "@peerbar/p2pdma";

/** Where the machine puts the capabilities that it gives to a function; offsets in bytes. */
export const PM_CAPABILITY = 0x40;
export const PCIE_CAPABILITY = 0x50;
export const ACS_CAPABILITY = 0x100;
/** SR-IOV, behind ACS or in its place. */
export const SRIOV_AFTER_ACS = 0x140;

export const PMCSR = PM_CAPABILITY + pciRegs.PCI_PM_CTRL;
export const DEVICE_CAPABILITIES = PCIE_CAPABILITY + pciRegs.PCI_EXP_DEVCAP;
export const DEVICE_CONTROL = PCIE_CAPABILITY + pciRegs.PCI_EXP_DEVCTL;
export const ACS_CONTROL = ACS_CAPABILITY + pciRegs.PCI_ACS_CTRL;
export const ACS_EGRESS_VECTOR = ACS_CAPABILITY + pciRegs.PCI_ACS_EGRESS_CTL_V;
