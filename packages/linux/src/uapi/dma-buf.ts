import { iocW, iocWR } from "../ioctl-number.js";
import { plain, request } from "../request.js";
import { struct } from "../struct.js";

const sync = struct("dma_buf_sync", [["flags", "u64"]]);
const exportSyncFile = struct("dma_buf_export_sync_file", [
  ["flags", "u32"],
  ["fd", "s32"],
]);
const importSyncFile = struct("dma_buf_import_sync_file", [
  ["flags", "u32"],
  ["fd", "s32"],
]);

/** include/uapi/linux/dma-buf.h, names as in C. */
export const dmaBuf = {
  DMA_BUF_IOCTL_SYNC: request("DMA_BUF_IOCTL_SYNC", iocW("b", 0, sync.size), sync),
  /** The argument points to a C string of at most DMA_BUF_NAME_LEN bytes, its end included. */
  DMA_BUF_SET_NAME_A: plain("DMA_BUF_SET_NAME_A", iocW("b", 1, 4)),
  DMA_BUF_SET_NAME_B: plain("DMA_BUF_SET_NAME_B", iocW("b", 1, 8)),
  DMA_BUF_IOCTL_EXPORT_SYNC_FILE: request(
    "DMA_BUF_IOCTL_EXPORT_SYNC_FILE",
    iocWR("b", 2, exportSyncFile.size),
    exportSyncFile,
  ),
  DMA_BUF_IOCTL_IMPORT_SYNC_FILE: request(
    "DMA_BUF_IOCTL_IMPORT_SYNC_FILE",
    iocW("b", 3, importSyncFile.size),
    importSyncFile,
  ),

  DMA_BUF_SYNC_READ: 1,
  DMA_BUF_SYNC_WRITE: 2,
  DMA_BUF_SYNC_RW: 3,
  DMA_BUF_SYNC_START: 0,
  DMA_BUF_SYNC_END: 4,
  DMA_BUF_NAME_LEN: 32,
} as const;
