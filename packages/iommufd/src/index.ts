export type { IommufdAccess } from "./access.js";
export { DEVICE_NAME } from "./event.js";
export type { Hwpt } from "./hwpt.js";
export type { AllocHwptOptions, Ioas } from "./ioas.js";
export type { BoundDevice, IommufdOptions } from "./iommufd.js";
export { Iommufd } from "./iommufd.js";
export type { IoasMapping } from "./mapping.js";
export type { IommufdObject, ObjectType } from "./object-table.js";
