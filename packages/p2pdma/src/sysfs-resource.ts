import type { ConfigBar } from "./config-space.js";
import type { PciBarInfo } from "./topology.js";

// include/linux/ioport.h
const IORESOURCE_IO = 0x100n;
const IORESOURCE_MEM = 0x200n;
const IORESOURCE_PREFETCH = 0x2000n;
const IORESOURCE_MEM_64 = 0x10_0000n;

const line = /^0x([0-9a-f]{1,16}) 0x([0-9a-f]{1,16}) 0x([0-9a-f]{1,16})$/i;

/**
 * BARs from sysfs `resource` (lines "start end flags", CPU physical) and, for the bus addresses, config space (p2pdma R32).
 *
 * A register that reads as zero while the kernel has an address for it (a VF's, or a function that lost its power) tells no bus
 * address: then the offset of the function's other BARs is taken, 0 without one.
 */
export function barsFromResource(
  text: string,
  registers: readonly (ConfigBar | undefined)[],
): (PciBarInfo | undefined)[] {
  const bars: (PciBarInfo | undefined)[] = [];
  const lines = text.split("\n");
  let offset: bigint | undefined;
  const untold: number[] = [];
  for (let index = 0; index < 6; index += 1) {
    const bar = parseBar(lines[index]?.trim() ?? "", index);
    bars.push(bar);
    if (bar === undefined || bar.kind === "io") continue;
    const register = registers[index];
    if (register?.kind !== "memory" || register.busStart === 0n) {
      untold.push(index);
      continue;
    }
    offset ??= register.busStart - bar.start;
    bars[index] = { ...bar, busStart: register.busStart };
  }
  for (const index of untold) {
    const bar = bars[index];
    if (bar !== undefined) {
      bars[index] = { ...bar, busStart: BigInt.asUintN(64, bar.start + (offset ?? 0n)) };
    }
  }
  while (bars.length > 0 && bars.at(-1) === undefined) bars.pop();
  return bars;
}

function parseBar(text: string, index: number): PciBarInfo | undefined {
  const match = line.exec(text);
  if (match === null) return undefined;
  const [start = 0n, end = 0n, flags = 0n] = match.slice(1).map((digits) => BigInt(`0x${digits}`));
  const memory = (flags & IORESOURCE_MEM) !== 0n;
  if (!memory && (flags & IORESOURCE_IO) === 0n) return undefined;
  if (end <= start) return undefined;
  return {
    index,
    kind: memory ? "memory" : "io",
    start,
    busStart: start,
    length: end - start + 1n,
    is64Bit: (flags & IORESOURCE_MEM_64) !== 0n,
    prefetchable: memory && (flags & IORESOURCE_PREFETCH) !== 0n,
  };
}
