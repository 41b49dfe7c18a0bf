/** A driver in user space for QEMU's `edu` device, the smallest one with a DMA engine: bytes really move. */

export type { EduOptions } from "./edu/edu-device.js";
export { EduDevice } from "./edu/edu-device.js";
