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

/** include/uapi/linux/vfio.h: the container (/dev/vfio/vfio) and groups (/dev/vfio/N), the way before iommufd. Names as in C. */
export const vfioContainer = {
  VFIO_GET_API_VERSION: plain("VFIO_GET_API_VERSION", ioc(";", BASE)),
  /** The argument is the extension's number itself. */
  VFIO_CHECK_EXTENSION: plain("VFIO_CHECK_EXTENSION", ioc(";", BASE + 1)),
  /** The argument is the type's number itself. */
  VFIO_SET_IOMMU: plain("VFIO_SET_IOMMU", ioc(";", BASE + 2)),
  VFIO_GROUP_GET_STATUS: command("VFIO_GROUP_GET_STATUS", 3, "vfio_group_status", [
    ["argsz", "u32"],
    ["flags", "u32"],
  ]),
  /** The argument points to the container's fd, an int. */
  VFIO_GROUP_SET_CONTAINER: plain("VFIO_GROUP_SET_CONTAINER", ioc(";", BASE + 4)),
  VFIO_GROUP_UNSET_CONTAINER: plain("VFIO_GROUP_UNSET_CONTAINER", ioc(";", BASE + 5)),
  /** The argument points to the device's name, a C string; returns the device's fd. */
  VFIO_GROUP_GET_DEVICE_FD: plain("VFIO_GROUP_GET_DEVICE_FD", ioc(";", BASE + 6)),
  VFIO_IOMMU_GET_INFO: command("VFIO_IOMMU_GET_INFO", 12, "vfio_iommu_type1_info", [
    ["argsz", "u32"],
    ["flags", "u32"],
    ["iova_pgsizes", "u64"],
    ["cap_offset", "u32"],
    ["pad", "u32"],
  ]),
  VFIO_IOMMU_MAP_DMA: command("VFIO_IOMMU_MAP_DMA", 13, "vfio_iommu_type1_dma_map", [
    ["argsz", "u32"],
    ["flags", "u32"],
    ["vaddr", "u64"],
    ["iova", "u64"],
    ["size", "u64"],
  ]),
  VFIO_IOMMU_UNMAP_DMA: command("VFIO_IOMMU_UNMAP_DMA", 14, "vfio_iommu_type1_dma_unmap", [
    ["argsz", "u32"],
    ["flags", "u32"],
    ["iova", "u64"],
    ["size", "u64"],
  ]),

  vfio_iova_range: struct("vfio_iova_range", [
    ["start", "u64"],
    ["end", "u64"],
  ]),
  vfio_iommu_type1_info_cap_iova_range: struct("vfio_iommu_type1_info_cap_iova_range", [
    ["id", "u16", { c: "header.id" }],
    ["version", "u16", { c: "header.version" }],
    ["next", "u32", { c: "header.next" }],
    ["nr_iovas", "u32"],
    ["reserved", "u32"],
  ]),

  VFIO_API_VERSION: 0,
  VFIO_TYPE1_IOMMU: 1,
  VFIO_TYPE1v2_IOMMU: 3,
  VFIO_DMA_CC_IOMMU: 4,
  VFIO_NOIOMMU_IOMMU: 8,
  VFIO_UNMAP_ALL: 9,
  VFIO_GROUP_FLAGS_VIABLE: 1,
  VFIO_GROUP_FLAGS_CONTAINER_SET: 2,
  VFIO_IOMMU_INFO_PGSIZES: 1,
  VFIO_IOMMU_INFO_CAPS: 2,
  VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE: 1,
  VFIO_DMA_MAP_FLAG_READ: 1,
  VFIO_DMA_MAP_FLAG_WRITE: 2,
  VFIO_DMA_UNMAP_FLAG_ALL: 2,
} as const;
