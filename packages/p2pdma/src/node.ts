export { DirectorySysfsTree } from "./node/directory-tree.js";
export { cpuFromCpuinfo, liveMachine, liveTopology } from "./node/live.js";
export type { ReadOptions } from "./node/read.js";
export { readTopology } from "./node/read.js";
