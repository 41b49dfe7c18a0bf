export { errnoName } from "./errno.js";
export { eventfd, readEventfd, writeEventfd } from "./eventfd.js";
export {
  close,
  F_DUPFD_CLOEXEC,
  F_GETFD,
  F_GETFL,
  F_SETFD,
  F_SETFL,
  FD_CLOEXEC,
  fcntl,
  ftruncate,
  lseek,
  O_CLOEXEC,
  O_NONBLOCK,
  O_RDONLY,
  O_RDWR,
  O_WRONLY,
  open,
  pread,
  pwrite,
  read,
  write,
} from "./file.js";
export type { IoctlAnswer } from "./ioctl.js";
export { ioctl, ioctlAsync, ioctlStruct } from "./ioctl.js";
export { ioc, iocR, iocW, iocWR } from "./ioctl-number.js";
export type { Pointer } from "./libc.js";
export { library } from "./library.js";
export { F_ADD_SEALS, F_GET_SEALS, F_SEAL_SHRINK, F_SEAL_WRITE, memfdCreate } from "./memfd.js";
export type { MapOptions, Mapping } from "./memory.js";
export { addressOf, MAX_MAPPING_BYTES, mmap, mmapAnonymous } from "./memory.js";
export type { OpenFd } from "./open-fds.js";
export { adoptFd, describeFd, openFds } from "./open-fds.js";
export { platformProblem } from "./platform.js";
export type { PollRequest } from "./poll.js";
export { POLLERR, POLLHUP, POLLNVAL, poll, pollAsync } from "./poll.js";
export type { EntryPoint, Probe } from "./probe.js";
export { probe } from "./probe.js";
export type { Request, StructRequest } from "./request.js";
export { plain, request } from "./request.js";
export type {
  FieldKind,
  FieldSpec,
  ScalarKind,
  Struct,
  StructField,
  StructValues,
} from "./struct.js";
export { struct } from "./struct.js";
export { dmaBuf } from "./uapi/dma-buf.js";
export { dmaHeap } from "./uapi/dma-heap.js";
export { iommufd } from "./uapi/iommufd.js";
export { iommufdTest } from "./uapi/iommufd-test.js";
export { syncFile } from "./uapi/sync-file.js";
export { udmabuf } from "./uapi/udmabuf.js";
export { vfio } from "./uapi/vfio.js";
export { vfioContainer } from "./uapi/vfio-container.js";
