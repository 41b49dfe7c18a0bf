import { mkdirSync } from "node:fs";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

/** Root of the checkout. */
export const root = fileURLToPath(new URL("../../..", import.meta.url)).replace(/\/$/, "");
/** This room. */
export const room = fileURLToPath(new URL("..", import.meta.url)).replace(/\/$/, "");

/** Where kernels are kept between runs, outside the checkout: XDG_CACHE_HOME/peerbar/kernel-lab. */
export function cacheFolder(...parts) {
  const base = process.env.XDG_CACHE_HOME || join(homedir(), ".cache");
  const folder = resolve(base, "peerbar", "kernel-lab", ...parts);
  mkdirSync(folder, { recursive: true });
  return folder;
}
