const LINE = 64;

/**
 * What a host bridge does that forwards peer traffic and gets it wrong: one byte of every 64-byte line changes. Which byte and how follow
 * from the seed and the offset of the line alone, so a run repeats exactly.
 */
export function corruptLines(
  offset: number,
  length: number,
  seed: number,
  flip: (at: number, mask: number) => void,
): void {
  const end = offset + length;
  for (let line = Math.floor(offset / LINE); line * LINE < end; line++) {
    const random = scramble(line + seed);
    const at = line * LINE + (random & (LINE - 1));
    const mask = 1 << ((random >>> 8) & 7);
    // A line that is touched in part loses a byte of that part.
    const clamped = Math.min(Math.max(at, offset), end - 1);
    flip(clamped, mask);
  }
}

/** 32-bit finalizer of murmur3: every input bit reaches every output bit. */
function scramble(value: number): number {
  let x = value | 0;
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return (x ^ (x >>> 16)) >>> 0;
}
