import { iocW, iocWR } from "../ioctl-number.js";
import { request } from "../request.js";
import { struct } from "../struct.js";

const merge = struct("sync_merge_data", [
  ["name", ["u8", 32]],
  ["fd2", "s32"],
  ["fence", "s32"],
  ["flags", "u32"],
  ["pad", "u32"],
]);
const info = struct("sync_file_info", [
  ["name", ["u8", 32]],
  ["status", "s32"],
  ["flags", "u32"],
  ["num_fences", "u32"],
  ["pad", "u32"],
  ["sync_fence_info", "u64"],
]);
const deadline = struct("sync_set_deadline", [
  ["deadline_ns", "u64"],
  ["pad", "u64"],
]);

/** include/uapi/linux/sync_file.h, names as in C. */
export const syncFile = {
  SYNC_IOC_MERGE: request("SYNC_IOC_MERGE", iocWR(">", 3, merge.size), merge),
  SYNC_IOC_FILE_INFO: request("SYNC_IOC_FILE_INFO", iocWR(">", 4, info.size), info),
  SYNC_IOC_SET_DEADLINE: request("SYNC_IOC_SET_DEADLINE", iocW(">", 5, deadline.size), deadline),

  sync_fence_info: struct("sync_fence_info", [
    ["obj_name", ["u8", 32]],
    ["driver_name", ["u8", 32]],
    ["status", "s32"],
    ["flags", "u32"],
    ["timestamp_ns", "u64"],
  ]),
} as const;
