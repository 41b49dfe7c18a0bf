import { ioc } from "../ioctl-number.js";
import { request, type StructRequest } from "../request.js";
import { type FieldSpec, type Struct, struct } from "../struct.js";

/** The head of struct iommu_test_cmd; what `id` names differs from op to op. */
const head = [
  ["size", "u32"],
  ["op", "u32"],
  ["id", "u32"],
] as const;

type Fields<M extends readonly FieldSpec[]> = readonly [...typeof head, ...M];

const SIZE = 72;
const UNION = 16;

/** One op of IOMMU_TEST_CMD: `member` is its part of the union. `op` fills itself in. */
function op<const M extends readonly FieldSpec[]>(
  name: string,
  number: number,
  member: string,
  members: M,
): StructRequest<Fields<M>> {
  const layout = struct("iommu_test_cmd", [...head, ...inUnion(member, members)], SIZE);
  const withOp: Struct = {
    ...layout,
    encode: (values, into) => layout.encode({ op: number, ...values }, into),
  };
  return request(name, ioc(";", 0xa0), withOp as Struct<Fields<M>>);
}

function inUnion(member: string, members: readonly FieldSpec[]): FieldSpec[] {
  return members.map(([name, kind, place], index) => [
    name,
    kind,
    { c: `${member}.${place?.c ?? name}`, ...(index === 0 ? { at: UNION } : {}) },
  ]);
}

const mockDomain = [
  ["out_stdev_id", "u32"],
  ["out_hwpt_id", "u32"],
  ["out_idev_id", "u32"],
] as const;
const pasidAndTable = [
  ["pasid", "u32"],
  ["pt_id", "u32"],
] as const;

/**
 * drivers/iommu/iommufd/iommufd_test.h: the kernel's own test door (CONFIG_IOMMUFD_TEST), names as in C. Each op is a request of its own,
 * so that an error says which (iommufd section 7).
 */
export const iommufdTest = {
  IOMMU_TEST_OP_ADD_RESERVED: op("IOMMU_TEST_OP_ADD_RESERVED", 1, "add_reserved", [
    ["start", "u64"],
    ["length", "u64"],
  ]),
  IOMMU_TEST_OP_MOCK_DOMAIN: op("IOMMU_TEST_OP_MOCK_DOMAIN", 2, "mock_domain", mockDomain),
  IOMMU_TEST_OP_MD_CHECK_MAP: op("IOMMU_TEST_OP_MD_CHECK_MAP", 3, "check_map", [
    ["iova", "u64"],
    ["length", "u64"],
    ["uptr", "u64"],
  ]),
  IOMMU_TEST_OP_MD_CHECK_REFS: op("IOMMU_TEST_OP_MD_CHECK_REFS", 4, "check_refs", [
    ["length", "u64"],
    ["uptr", "u64"],
    ["refs", "u32"],
  ]),
  IOMMU_TEST_OP_CREATE_ACCESS: op("IOMMU_TEST_OP_CREATE_ACCESS", 5, "create_access", [
    ["out_access_fd", "u32"],
    ["flags", "u32"],
  ]),
  IOMMU_TEST_OP_DESTROY_ACCESS_PAGES: op(
    "IOMMU_TEST_OP_DESTROY_ACCESS_PAGES",
    6,
    "destroy_access_pages",
    [["access_pages_id", "u32"]],
  ),
  IOMMU_TEST_OP_ACCESS_PAGES: op("IOMMU_TEST_OP_ACCESS_PAGES", 7, "access_pages", [
    ["flags", "u32"],
    ["out_access_pages_id", "u32"],
    ["iova", "u64"],
    ["length", "u64"],
    ["uptr", "u64"],
  ]),
  IOMMU_TEST_OP_ACCESS_RW: op("IOMMU_TEST_OP_ACCESS_RW", 8, "access_rw", [
    ["iova", "u64"],
    ["length", "u64"],
    ["uptr", "u64"],
    ["flags", "u32"],
  ]),
  IOMMU_TEST_OP_SET_TEMP_MEMORY_LIMIT: op(
    "IOMMU_TEST_OP_SET_TEMP_MEMORY_LIMIT",
    9,
    "memory_limit",
    [["limit", "u32"]],
  ),
  IOMMU_TEST_OP_MOCK_DOMAIN_REPLACE: op(
    "IOMMU_TEST_OP_MOCK_DOMAIN_REPLACE",
    10,
    "mock_domain_replace",
    [["pt_id", "u32"]],
  ),
  IOMMU_TEST_OP_ACCESS_REPLACE_IOAS: op(
    "IOMMU_TEST_OP_ACCESS_REPLACE_IOAS",
    11,
    "access_replace_ioas",
    [["ioas_id", "u32"]],
  ),
  IOMMU_TEST_OP_MOCK_DOMAIN_FLAGS: op("IOMMU_TEST_OP_MOCK_DOMAIN_FLAGS", 12, "mock_domain_flags", [
    ...mockDomain,
    ["dev_flags", "u32"],
  ]),
  IOMMU_TEST_OP_DIRTY: op("IOMMU_TEST_OP_DIRTY", 13, "dirty", [
    ["flags", "u32"],
    ["iova", "u64"],
    ["length", "u64"],
    ["page_size", "u64"],
    ["uptr", "u64"],
    ["out_nr_dirty", "u64"],
  ]),
  IOMMU_TEST_OP_MD_CHECK_IOTLB: op("IOMMU_TEST_OP_MD_CHECK_IOTLB", 14, "check_iotlb", [
    ["iotlb_id", "u32", { c: "id" }],
    ["iotlb", "u32"],
  ]),
  IOMMU_TEST_OP_TRIGGER_IOPF: op("IOMMU_TEST_OP_TRIGGER_IOPF", 15, "trigger_iopf", [
    ["dev_id", "u32"],
    ["pasid", "u32"],
    ["grpid", "u32"],
    ["perm", "u32"],
    ["addr", "u64"],
  ]),
  IOMMU_TEST_OP_DEV_CHECK_CACHE: op("IOMMU_TEST_OP_DEV_CHECK_CACHE", 16, "check_dev_cache", [
    ["cache_id", "u32", { c: "id" }],
    ["cache", "u32"],
  ]),
  IOMMU_TEST_OP_TRIGGER_VEVENT: op("IOMMU_TEST_OP_TRIGGER_VEVENT", 17, "trigger_vevent", [
    ["dev_id", "u32"],
  ]),
  IOMMU_TEST_OP_PASID_ATTACH: op("IOMMU_TEST_OP_PASID_ATTACH", 18, "pasid_attach", pasidAndTable),
  IOMMU_TEST_OP_PASID_REPLACE: op(
    "IOMMU_TEST_OP_PASID_REPLACE",
    19,
    "pasid_replace",
    pasidAndTable,
  ),
  IOMMU_TEST_OP_PASID_DETACH: op("IOMMU_TEST_OP_PASID_DETACH", 20, "pasid_detach", [
    ["pasid", "u32"],
  ]),
  IOMMU_TEST_OP_PASID_CHECK_HWPT: op("IOMMU_TEST_OP_PASID_CHECK_HWPT", 21, "pasid_check", [
    ["pasid", "u32"],
    ["hwpt_id", "u32"],
  ]),
  /** Returns the new dma-buf's fd. */
  IOMMU_TEST_OP_DMABUF_GET: op("IOMMU_TEST_OP_DMABUF_GET", 22, "dmabuf_get", [
    ["length", "u32"],
    ["open_flags", "u32"],
  ]),
  IOMMU_TEST_OP_DMABUF_REVOKE: op("IOMMU_TEST_OP_DMABUF_REVOKE", 23, "dmabuf_revoke", [
    ["dmabuf_fd", "s32"],
    ["revoked", "u32"],
  ]),

  iommu_test_hw_info: struct("iommu_test_hw_info", [
    ["flags", "u32"],
    ["test_reg", "u32"],
  ]),
  iommu_hwpt_selftest: struct("iommu_hwpt_selftest", [
    ["iotlb", "u32"],
    ["pagetable_type", "u32"],
  ]),

  MOCK_IOMMUPT_DEFAULT: 0,
  MOCK_IOMMUPT_HUGE: 1,
  MOCK_APERTURE_START: 1 << 24,
  MOCK_APERTURE_LAST: 0x7fff_ffff,
  MOCK_PAGE_SIZE: 2048,
  MOCK_HUGE_PAGE_SIZE: 512 * 2048,
  MOCK_FLAGS_ACCESS_WRITE: 1,
  MOCK_FLAGS_ACCESS_SYZ: 1 << 16,
  MOCK_ACCESS_RW_WRITE: 1,
  MOCK_ACCESS_RW_SLOW_PATH: 4,
  MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES: 1,
  MOCK_FLAGS_DEVICE_NO_DIRTY: 1,
  MOCK_FLAGS_DEVICE_PASID: 4,
  IOMMU_HW_INFO_TYPE_SELFTEST: 0xfeed_beef,
  IOMMU_HW_INFO_SELFTEST_REGVAL: 0xdead_beef,
  IOMMU_HWPT_DATA_SELFTEST: 0xdead,
  IOMMU_TEST_IOTLB_DEFAULT: 0xbad_beef,
} as const;
