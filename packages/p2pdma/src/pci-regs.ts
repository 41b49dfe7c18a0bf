/**
 * Configuration registers: offsets in bytes, and their bits. Names as in C (include/uapi/linux/pci_regs.h); a test of `@peerbar/linux`
 * compares them with the header. A register of a capability counts from where the capability begins.
 */
export const pciRegs = {
  /** All ones for a virtual function. */
  PCI_VENDOR_ID: 0x00,
  /** All ones for a virtual function. */
  PCI_DEVICE_ID: 0x02,
  /** What the function decodes, and whether it masters. */
  PCI_COMMAND: 0x04,
  /** I/O BARs answer. */
  PCI_COMMAND_IO: 0x1,
  /** Memory BARs answer. */
  PCI_COMMAND_MEMORY: 0x2,
  /** The function may issue DMA. */
  PCI_COMMAND_MASTER: 0x4,
  /** What the function is able to, and errors seen. */
  PCI_STATUS: 0x06,
  /** There is a capability list. */
  PCI_STATUS_CAP_LIST: 0x10,
  /** Class code in the upper 24 bits, revision in the lowest 8. */
  PCI_CLASS_REVISION: 0x08,
  /** Layout of the header, and whether the device has more functions. */
  PCI_HEADER_TYPE: 0x0e,
  /** The layout: 0 endpoint, 1 bridge, 2 CardBus bridge. */
  PCI_HEADER_TYPE_MASK: 0x7f,
  /** The device has more than one function. */
  PCI_HEADER_TYPE_MFD: 0x80,
  /** The first BAR: six of four bytes for an endpoint, two for a bridge. */
  PCI_BASE_ADDRESS_0: 0x10,
  /** Address of an endpoint's expansion ROM. */
  PCI_ROM_ADDRESS: 0x30,
  /** Where the capability list begins. */
  PCI_CAPABILITY_LIST: 0x34,
  /** Where it begins for a CardBus bridge. */
  PCI_CB_CAPABILITY_LIST: 0x14,

  /** Bus a bridge is on. */
  PCI_PRIMARY_BUS: 0x18,
  /** First bus behind a bridge. */
  PCI_SECONDARY_BUS: 0x19,
  /** Last bus behind a bridge. */
  PCI_SUBORDINATE_BUS: 0x1a,
  /** First byte of a bridge's I/O window, in 4 KiB. */
  PCI_IO_BASE: 0x1c,
  /** Last byte of it, as the base. */
  PCI_IO_LIMIT: 0x1d,
  /** First byte of a bridge's memory window, in MiB; its limit follows. */
  PCI_MEMORY_BASE: 0x20,
  /** First byte of a bridge's prefetchable window, in MiB; its limit follows. */
  PCI_PREF_MEMORY_BASE: 0x24,
  /** Upper half of the prefetchable window's base. */
  PCI_PREF_BASE_UPPER32: 0x28,
  /** Upper half of its limit. */
  PCI_PREF_LIMIT_UPPER32: 0x2c,
  /** Upper half of the I/O window's base. */
  PCI_IO_BASE_UPPER16: 0x30,
  /** Upper half of its limit. */
  PCI_IO_LIMIT_UPPER16: 0x32,
  /** What a bridge does with the bus behind it. */
  PCI_BRIDGE_CONTROL: 0x3e,
  /** Holds the bus behind the bridge in reset. */
  PCI_BRIDGE_CTL_BUS_RESET: 0x40,

  /** Identity of the power management capability. */
  PCI_CAP_ID_PM: 0x01,
  /** Identity of the PCI Express capability. */
  PCI_CAP_ID_EXP: 0x10,
  /** Identity of the Advanced Features capability. */
  PCI_CAP_ID_AF: 0x13,
  /** Identity of the extended capability Access Control Services. */
  PCI_EXT_CAP_ID_ACS: 0x0d,
  /** Identity of the extended capability SR-IOV. */
  PCI_EXT_CAP_ID_SRIOV: 0x10,

  /** Power management: control and status. */
  PCI_PM_CTRL: 4,
  /** Power state, D0 to D3hot. */
  PCI_PM_CTRL_STATE_MASK: 0x3,
  /** D3hot to D0 keeps the registers. */
  PCI_PM_CTRL_NO_SOFT_RESET: 0x8,

  /** PCI Express: version, and type of the port in bits 4 to 7. */
  PCI_EXP_FLAGS: 0x02,
  /** What the device is able to. */
  PCI_EXP_DEVCAP: 0x04,
  /** It has function-level reset. */
  PCI_EXP_DEVCAP_FLR: 0x1000_0000,
  /** Control of the device. */
  PCI_EXP_DEVCTL: 0x08,
  /** Starts a function-level reset; the same bit lets a bridge retry configuration. */
  PCI_EXP_DEVCTL_BCR_FLR: 0x8000,
  /** Highest speed and width of the link. */
  PCI_EXP_LNKCAP: 0x0c,
  /** Speed and width of the link now. */
  PCI_EXP_LNKSTA: 0x12,

  /** Advanced Features: what there is. */
  PCI_AF_CAP: 3,
  /** Transactions pending is told. */
  PCI_AF_CAP_TP: 0x01,
  /** There is function-level reset. */
  PCI_AF_CAP_FLR: 0x02,
  /** Control of Advanced Features. */
  PCI_AF_CTRL: 4,
  /** Starts a function-level reset. */
  PCI_AF_CTRL_FLR: 0x01,

  /** ACS: what there is, as `acsBits`. */
  PCI_ACS_CAP: 0x04,
  /** What is switched on of `PCI_ACS_CAP`. */
  PCI_ACS_CTRL: 0x06,
  /** Ports that egress control forbids. */
  PCI_ACS_EGRESS_CTL_V: 0x08,

  /** SR-IOV: control. */
  PCI_SRIOV_CTRL: 0x08,
  /** Virtual functions exist. */
  PCI_SRIOV_CTRL_VFE: 0x01,
  /** Their memory answers. */
  PCI_SRIOV_CTRL_MSE: 0x08,
  /** Virtual functions there are at first. */
  PCI_SRIOV_INITIAL_VF: 0x0c,
  /** Virtual functions there may be. */
  PCI_SRIOV_TOTAL_VF: 0x0e,
  /** Virtual functions asked for. */
  PCI_SRIOV_NUM_VF: 0x10,
  /** Routing ID of the first, from the physical function's. */
  PCI_SRIOV_VF_OFFSET: 0x14,
  /** Routing IDs from one to the next. */
  PCI_SRIOV_VF_STRIDE: 0x16,
} as const;
