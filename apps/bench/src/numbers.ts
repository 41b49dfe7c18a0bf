/** Non-negative 31-bit numbers that repeat for the same seed (xorshift). */
export function numbers(seed: number): () => number {
  let state = seed | 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state & 0x7fff_ffff;
  };
}

/** 0, 1, 2, ... below 2^31. */
export function counter(): () => number {
  let at = -1;
  return () => {
    at = (at + 1) & 0x7fff_ffff;
    return at;
  };
}
