/** Request numbers and flags of a dma-buf's file (include/uapi/linux/dma-buf.h; dma-buf section 8). */

/** Begin or end CPU access; argument: u64 flags (dma-buf R41). */
export const DMA_BUF_IOCTL_SYNC = 0x40086200;
/** Name the buffer, as 32-bit programs ask; argument: string (dma-buf R44). */
export const DMA_BUF_SET_NAME_A = 0x40046201;
/** Name the buffer, as 64-bit programs ask. */
export const DMA_BUF_SET_NAME_B = 0x40086201;
/** Fences to a sync file; argument: `{u32 flags; s32 fd}` (dma-buf R45). */
export const DMA_BUF_IOCTL_EXPORT_SYNC_FILE = 0xc0086202;
/** A sync file's fences to the buffer; same argument (dma-buf R46). */
export const DMA_BUF_IOCTL_IMPORT_SYNC_FILE = 0x40086203;

/** The CPU reads. */
export const DMA_BUF_SYNC_READ = 1;
/** The CPU writes. */
export const DMA_BUF_SYNC_WRITE = 2;
/** READ and WRITE. */
export const DMA_BUF_SYNC_RW = 3;
/** Access begins. */
export const DMA_BUF_SYNC_START = 0;
/** Access ends. */
export const DMA_BUF_SYNC_END = 4;

/** Room for a buffer's name, its NUL included (dma-buf R44). */
export const NAME_BYTES = 32;

/** From the start. */
export const SEEK_SET = 0;
/** From the position, which a buffer does not keep. */
export const SEEK_CUR = 1;
/** From the end. */
export const SEEK_END = 2;

/** @internal Bytes of `text` in UTF-8; bare engines have no TextEncoder. */
export function utf8Length(text: string): number {
  let bytes = 0;
  for (const character of text) {
    const point = character.codePointAt(0) ?? 0;
    bytes += point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
  }
  return bytes;
}
