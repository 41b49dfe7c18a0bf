import { ioc } from "../ioctl-number.js";
import { plain, request, type StructRequest } from "../request.js";
import { type FieldSpec, struct } from "../struct.js";

const BASE = 100;
const command = <const F extends readonly FieldSpec[]>(
  name: string,
  nr: number,
  cName: string,
  fields: F,
): StructRequest<F> => request(name, ioc(";", BASE + nr), struct(cName, fields));

/**
 * include/uapi/linux/vfio.h: devices, whether they came from a cdev or from a group. Names as in C. `argsz` is what the caller gives,
 * struct and payload; encode fills it in from the buffer.
 */
export const vfio = {
  VFIO_DEVICE_GET_INFO: command("VFIO_DEVICE_GET_INFO", 7, "vfio_device_info", [
    ["argsz", "u32"],
    ["flags", "u32"],
    ["num_regions", "u32"],
    ["num_irqs", "u32"],
    ["cap_offset", "u32"],
    ["pad", "u32"],
  ]),
  VFIO_DEVICE_GET_REGION_INFO: command("VFIO_DEVICE_GET_REGION_INFO", 8, "vfio_region_info", [
    ["argsz", "u32"],
    ["flags", "u32"],
    ["index", "u32"],
    ["cap_offset", "u32"],
    ["size", "u64"],
    ["offset", "u64"],
  ]),
  VFIO_DEVICE_GET_IRQ_INFO: command("VFIO_DEVICE_GET_IRQ_INFO", 9, "vfio_irq_info", [
    ["argsz", "u32"],
    ["flags", "u32"],
    ["index", "u32"],
    ["count", "u32"],
  ]),
  VFIO_DEVICE_SET_IRQS: command("VFIO_DEVICE_SET_IRQS", 10, "vfio_irq_set", [
    ["argsz", "u32"],
    ["flags", "u32"],
    ["index", "u32"],
    ["start", "u32"],
    ["count", "u32"],
  ]),
  VFIO_DEVICE_RESET: plain("VFIO_DEVICE_RESET", ioc(";", BASE + 11)),
  VFIO_DEVICE_GET_PCI_HOT_RESET_INFO: command(
    "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO",
    12,
    "vfio_pci_hot_reset_info",
    [
      ["argsz", "u32"],
      ["flags", "u32"],
      ["count", "u32"],
    ],
  ),
  VFIO_DEVICE_PCI_HOT_RESET: command("VFIO_DEVICE_PCI_HOT_RESET", 13, "vfio_pci_hot_reset", [
    ["argsz", "u32"],
    ["flags", "u32"],
    ["count", "u32"],
  ]),
  VFIO_DEVICE_IOEVENTFD: command("VFIO_DEVICE_IOEVENTFD", 16, "vfio_device_ioeventfd", [
    ["argsz", "u32"],
    ["flags", "u32"],
    ["offset", "u64"],
    ["data", "u64"],
    ["fd", "s32"],
    ["reserved", "u32"],
  ]),
  /** A header; the payload of the feature follows at byte 8. */
  VFIO_DEVICE_FEATURE: command("VFIO_DEVICE_FEATURE", 17, "vfio_device_feature", [
    ["argsz", "u32"],
    ["flags", "u32"],
  ]),
  VFIO_DEVICE_BIND_IOMMUFD: command("VFIO_DEVICE_BIND_IOMMUFD", 18, "vfio_device_bind_iommufd", [
    ["argsz", "u32"],
    ["flags", "u32"],
    ["iommufd", "s32"],
    ["out_devid", "u32"],
    ["token_uuid_ptr", "u64"],
  ]),
  VFIO_DEVICE_ATTACH_IOMMUFD_PT: command(
    "VFIO_DEVICE_ATTACH_IOMMUFD_PT",
    19,
    "vfio_device_attach_iommufd_pt",
    [
      ["argsz", "u32"],
      ["flags", "u32"],
      ["pt_id", "u32"],
      ["pasid", "u32"],
    ],
  ),
  VFIO_DEVICE_DETACH_IOMMUFD_PT: command(
    "VFIO_DEVICE_DETACH_IOMMUFD_PT",
    20,
    "vfio_device_detach_iommufd_pt",
    [
      ["argsz", "u32"],
      ["flags", "u32"],
      ["pasid", "u32"],
    ],
  ),

  vfio_info_cap_header: struct("vfio_info_cap_header", [
    ["id", "u16"],
    ["version", "u16"],
    ["next", "u32"],
  ]),
  vfio_device_info_cap_pci_atomic_comp: struct("vfio_device_info_cap_pci_atomic_comp", [
    ["id", "u16", { c: "header.id" }],
    ["version", "u16", { c: "header.version" }],
    ["next", "u32", { c: "header.next" }],
    ["flags", "u32"],
    ["reserved", "u32"],
  ]),
  vfio_region_info_cap_sparse_mmap: struct("vfio_region_info_cap_sparse_mmap", [
    ["id", "u16", { c: "header.id" }],
    ["version", "u16", { c: "header.version" }],
    ["next", "u32", { c: "header.next" }],
    ["nr_areas", "u32"],
    ["reserved", "u32"],
  ]),
  vfio_region_sparse_mmap_area: struct("vfio_region_sparse_mmap_area", [
    ["offset", "u64"],
    ["size", "u64"],
  ]),
  vfio_region_info_cap_type: struct("vfio_region_info_cap_type", [
    ["id", "u16", { c: "header.id" }],
    ["version", "u16", { c: "header.version" }],
    ["next", "u32", { c: "header.next" }],
    ["type", "u32"],
    ["subtype", "u32"],
  ]),
  vfio_pci_dependent_device: struct("vfio_pci_dependent_device", [
    // A union with devid, which a device from a cdev reads.
    ["group_id", "u32"],
    ["segment", "u16"],
    ["bus", "u8"],
    ["devfn", "u8"],
  ]),
  /** Payload of VFIO_DEVICE_FEATURE_DMA_BUF; `nr_ranges` of {@link vfio_region_dma_range} follow. */
  vfio_device_feature_dma_buf: struct("vfio_device_feature_dma_buf", [
    ["region_index", "u32"],
    ["open_flags", "u32"],
    ["flags", "u32"],
    ["nr_ranges", "u32"],
  ]),
  vfio_region_dma_range: struct("vfio_region_dma_range", [
    ["offset", "u64"],
    ["length", "u64"],
  ]),
  vfio_device_low_power_entry_with_wakeup: struct("vfio_device_low_power_entry_with_wakeup", [
    ["wakeup_eventfd", "s32"],
    ["reserved", "u32"],
  ]),
  vfio_device_feature_bus_master: struct("vfio_device_feature_bus_master", [["op", "u32"]]),
  vfio_device_feature_migration: struct("vfio_device_feature_migration", [["flags", "u64"]]),

  VFIO_DEVICE_FLAGS_RESET: 1,
  VFIO_DEVICE_FLAGS_PCI: 2,
  VFIO_DEVICE_FLAGS_CAPS: 1 << 7,
  VFIO_DEVICE_INFO_CAP_PCI_ATOMIC_COMP: 5,
  VFIO_REGION_INFO_FLAG_READ: 1,
  VFIO_REGION_INFO_FLAG_WRITE: 2,
  VFIO_REGION_INFO_FLAG_MMAP: 4,
  VFIO_REGION_INFO_FLAG_CAPS: 8,
  VFIO_REGION_INFO_CAP_SPARSE_MMAP: 1,
  VFIO_REGION_INFO_CAP_TYPE: 2,
  VFIO_REGION_INFO_CAP_MSIX_MAPPABLE: 3,
  VFIO_IRQ_INFO_EVENTFD: 1,
  VFIO_IRQ_INFO_MASKABLE: 2,
  VFIO_IRQ_INFO_AUTOMASKED: 4,
  VFIO_IRQ_INFO_NORESIZE: 8,
  VFIO_IRQ_SET_DATA_NONE: 1,
  VFIO_IRQ_SET_DATA_BOOL: 2,
  VFIO_IRQ_SET_DATA_EVENTFD: 4,
  VFIO_IRQ_SET_ACTION_MASK: 8,
  VFIO_IRQ_SET_ACTION_UNMASK: 16,
  VFIO_IRQ_SET_ACTION_TRIGGER: 32,
  VFIO_PCI_BAR0_REGION_INDEX: 0,
  VFIO_PCI_BAR5_REGION_INDEX: 5,
  VFIO_PCI_ROM_REGION_INDEX: 6,
  VFIO_PCI_CONFIG_REGION_INDEX: 7,
  VFIO_PCI_VGA_REGION_INDEX: 8,
  VFIO_PCI_NUM_REGIONS: 9,
  VFIO_PCI_MSI_IRQ_INDEX: 1,
  VFIO_PCI_MSIX_IRQ_INDEX: 2,
  VFIO_PCI_ERR_IRQ_INDEX: 3,
  VFIO_PCI_REQ_IRQ_INDEX: 4,
  VFIO_PCI_HOT_RESET_FLAG_DEV_ID: 1,
  VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED: 2,
  VFIO_DEVICE_BIND_FLAG_TOKEN: 1,
  VFIO_DEVICE_ATTACH_PASID: 1,
  VFIO_DEVICE_DETACH_PASID: 1,
  VFIO_DEVICE_FEATURE_MASK: 0xffff,
  VFIO_DEVICE_FEATURE_GET: 1 << 16,
  VFIO_DEVICE_FEATURE_SET: 1 << 17,
  VFIO_DEVICE_FEATURE_PROBE: 1 << 18,
  VFIO_DEVICE_FEATURE_PCI_VF_TOKEN: 0,
  VFIO_DEVICE_FEATURE_MIGRATION: 1,
  VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY: 3,
  VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP: 4,
  VFIO_DEVICE_FEATURE_LOW_POWER_EXIT: 5,
  VFIO_DEVICE_FEATURE_BUS_MASTER: 10,
  VFIO_DEVICE_FEATURE_CLEAR_MASTER: 0,
  VFIO_DEVICE_FEATURE_SET_MASTER: 1,
  VFIO_DEVICE_FEATURE_DMA_BUF: 11,
} as const;
