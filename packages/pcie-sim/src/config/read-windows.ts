import { pciRegs as reg } from "@peerbar/p2pdma";
import type { Span } from "../fabric/range-table.js";
import type { ConfigSpace } from "./config-space.js";

/** Pages in the megabyte that windows are made of. */
const PAGES_PER_MIB = 256;
const MIB_PER_4GIB = 4096;

/** The memory windows that a bridge's registers select; a window whose base is above its limit is closed. */
export function readMemoryWindows(config: ConfigSpace): Span[] {
  const spans: Span[] = [];
  const memory = config.get(reg.PCI_MEMORY_BASE, 4);
  push(spans, base(memory), limit(memory));
  const prefetch = config.get(reg.PCI_PREF_MEMORY_BASE, 4);
  push(
    spans,
    base(prefetch) + config.get(reg.PCI_PREF_BASE_UPPER32, 4) * MIB_PER_4GIB,
    limit(prefetch) + config.get(reg.PCI_PREF_LIMIT_UPPER32, 4) * MIB_PER_4GIB,
  );
  return spans;
}

function base(register: number): number {
  return (register >>> 4) & 0xfff;
}

function limit(register: number): number {
  return register >>> 20;
}

function push(spans: Span[], first: number, last: number): void {
  if (first > last) return;
  spans.push({
    firstPfn: first * PAGES_PER_MIB,
    firstByte: 0,
    lastPfn: (last + 1) * PAGES_PER_MIB - 1,
    lastByte: 4095,
  });
}
