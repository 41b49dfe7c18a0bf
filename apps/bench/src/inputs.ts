import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Skipped } from "./case.js";

/** The largest real dump at hand, 980 kB of `lspci -vv`. */
export const LARGE_DUMP = "spr-2s-8xh800-vfs.lspci-vv.txt";

const topologies =
  process.env.PEERBAR_TOPOLOGIES ??
  fileURLToPath(new URL("../../../../shared/topologies", import.meta.url));

/** Path of a real machine's capture; captures of other people's machines are not part of the project. */
export function capture(name: string): string | Skipped {
  const path = join(topologies, name);
  if (existsSync(path)) return path;
  return {
    skipped: `set PEERBAR_TOPOLOGIES to a folder with ${name}, the lspci -vv of a real server`,
  };
}

/** A listing of `count` functions, as lspci prints them. */
export function listing(count: number): string {
  const hex = (n: number, digits: number): string => n.toString(16).padStart(digits, "0");
  return Array.from({ length: count }, (_, n) => {
    const address = `${hex(n >> 13, 4)}:${hex((n >> 5) & 0xff, 2)}:${hex(n & 31, 2)}.0`;
    return `${address} 3D controller [0302]: NVIDIA Corporation Device [10de:2330]\n\tRegion 0: Memory at 9000000000 (64-bit, prefetchable) [size=16M]\n\tCapabilities: [60] Express (v2) Endpoint, MSI 00\n`;
  }).join("\n");
}
