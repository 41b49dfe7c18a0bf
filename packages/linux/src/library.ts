import { createRequire } from "node:module";
import { DmaBufError } from "@peerbar/core";
import type koffi from "koffi";
import { requirePlatform } from "./platform.js";

/** The FFI library's own interface. */
type Koffi = typeof koffi;

const require = createRequire(import.meta.url);
let loaded: Koffi | undefined;

/**
 * koffi, loaded on first use: importing this package must work where koffi has no binary.
 *
 * @throws DmaBufError ENOSYS: not Linux, another architecture, or koffi's binary is missing; the hint says what to do.
 */
export function library(syscall: string): Koffi {
  if (loaded) return loaded;
  requirePlatform(syscall);
  try {
    loaded = require("koffi") as Koffi;
  } catch (cause) {
    throw new DmaBufError("ENOSYS", syscall, `koffi cannot be loaded: ${firstLine(cause)}`, {
      hint: `npm install koffi --include=optional (its binary for linux-${process.arch} is an optional package)`,
      cause,
    });
  }
  return loaded;
}

function firstLine(cause: unknown): string {
  const text = cause instanceof Error ? cause.message : String(cause);
  return text.split("\n", 1)[0] ?? text;
}
