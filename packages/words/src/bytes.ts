/** Bytes for people: the largest unit that divides them, `2M`, `128G`, `4K`; plain bytes below that. */
export function formatBytes(bytes: bigint): string {
  for (const [unit, shift] of [
    ["T", 40n],
    ["G", 30n],
    ["M", 20n],
    ["K", 10n],
  ] as const) {
    const size = 1n << shift;
    if (bytes >= size && bytes % size === 0n) return `${String(bytes >> shift)}${unit}`;
  }
  return `${String(bytes)} bytes`;
}
