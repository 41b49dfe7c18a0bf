/** Direction bits of an ioctl number (include/uapi/asm-generic/ioctl.h). */
const WRITE = 1;
const READ = 2;

const number = (direction: number, type: string | number, nr: number, size: number): number =>
  ((direction << 30) |
    (size << 16) |
    ((typeof type === "string" ? type.charCodeAt(0) : type) << 8) |
    nr) >>>
  0;

/** `_IO(type, nr)`: no size; iommufd and vfio use it for everything. */
export const ioc = (type: string | number, nr: number): number => number(0, type, nr, 0);
/** `_IOR`: the kernel writes `size` bytes. */
export const iocR = (type: string | number, nr: number, size: number): number =>
  number(READ, type, nr, size);
/** `_IOW`: the kernel reads `size` bytes. */
export const iocW = (type: string | number, nr: number, size: number): number =>
  number(WRITE, type, nr, size);
/** `_IOWR`: both. */
export const iocWR = (type: string | number, nr: number, size: number): number =>
  number(READ | WRITE, type, nr, size);
