/** Offsets and bits of configuration space that the machine gives meaning to (spec p2pdma, config-space layout). */
export const COMMAND = 0x04;
export const COMMAND_MEMORY = 0x2;
export const COMMAND_MASTER = 0x4;
export const STATUS = 0x06;
export const STATUS_CAPABILITIES = 0x10;
export const CLASS_REVISION = 0x08;
export const HEADER_TYPE = 0x0e;
export const MULTI_FUNCTION = 0x80;
export const BAR_0 = 0x10;
export const PRIMARY_BUS = 0x18;
export const MEMORY_WINDOW = 0x20;
export const PREFETCH_WINDOW = 0x24;
export const PREFETCH_BASE_HIGH = 0x28;
export const PREFETCH_LIMIT_HIGH = 0x2c;
export const CAPABILITY_POINTER = 0x34;
export const BRIDGE_CONTROL = 0x3e;
/** Bridge control bit 6: secondary bus reset. */
export const BRIDGE_RESET = 0x40;

/** Where the machine puts the capabilities it gives to a function. */
export const PM_CAPABILITY = 0x40;
export const PMCSR = PM_CAPABILITY + 4;
export const PMCSR_STATE = 0x3;
/** No_Soft_Reset: D3hot to D0 keeps the registers. */
export const PMCSR_NO_SOFT_RESET = 0x8;
export const PCIE_CAPABILITY = 0x50;
export const DEVICE_CAPABILITIES = PCIE_CAPABILITY + 4;
export const DEVICE_CAPABILITIES_FLR = 1 << 28;
export const DEVICE_CONTROL = PCIE_CAPABILITY + 8;
export const DEVICE_CONTROL_FLR = 0x8000;
export const LINK_CAPABILITIES = PCIE_CAPABILITY + 0x0c;
export const LINK_STATUS = PCIE_CAPABILITY + 0x12;
export const ACS_CAPABILITY = 0x100;
export const ACS_CONTROL = ACS_CAPABILITY + 6;
export const ACS_EGRESS_VECTOR = ACS_CAPABILITY + 8;

/** SR-IOV capability, behind ACS or in its place; offsets from its start. */
export const SRIOV_AFTER_ACS = 0x140;
export const SRIOV_CONTROL = 0x08;
export const SRIOV_ENABLE = 0x1;
export const SRIOV_MEMORY = 0x8;
export const SRIOV_INITIAL = 0x0c;
export const SRIOV_TOTAL = 0x0e;
export const SRIOV_COUNT = 0x10;
export const SRIOV_OFFSET = 0x14;
export const SRIOV_STRIDE = 0x16;

export const PM_CAPABILITY_ID = 0x01;
export const PCIE_CAPABILITY_ID = 0x10;
export const ACS_CAPABILITY_ID = 0x000d;
export const SRIOV_CAPABILITY_ID = 0x0010;
