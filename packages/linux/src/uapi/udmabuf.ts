import { iocW } from "../ioctl-number.js";
import { request } from "../request.js";
import { struct } from "../struct.js";

const create = struct("udmabuf_create", [
  ["memfd", "u32"],
  ["flags", "u32"],
  ["offset", "u64"],
  ["size", "u64"],
]);
const createList = struct("udmabuf_create_list", [
  ["flags", "u32"],
  ["count", "u32"],
]);

/** include/uapi/linux/udmabuf.h, names as in C. Both ioctls return the new dma-buf's fd. */
export const udmabuf = {
  UDMABUF_CREATE: request("UDMABUF_CREATE", iocW("u", 0x42, create.size), create),
  /** `count` of udmabuf_create_item follow the struct. */
  UDMABUF_CREATE_LIST: request("UDMABUF_CREATE_LIST", iocW("u", 0x43, createList.size), createList),

  udmabuf_create_item: struct("udmabuf_create_item", [
    ["memfd", "u32"],
    ["__pad", "u32"],
    ["offset", "u64"],
    ["size", "u64"],
  ]),

  UDMABUF_FLAGS_CLOEXEC: 1,
} as const;
