const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/** Base64 of RFC 4648 with padding; pure packages have no `Buffer`. */
export function toBase64(bytes: Uint8Array): string {
  let text = "";
  for (let i = 0; i < bytes.length; i += 3) {
    const left = bytes.length - i;
    const word = ((bytes[i] ?? 0) << 16) | ((bytes[i + 1] ?? 0) << 8) | (bytes[i + 2] ?? 0);
    text += ALPHABET[word >>> 18] ?? "";
    text += ALPHABET[(word >>> 12) & 63] ?? "";
    text += left > 1 ? (ALPHABET[(word >>> 6) & 63] ?? "") : "=";
    text += left > 2 ? (ALPHABET[word & 63] ?? "") : "=";
  }
  return text;
}

/** Undefined for text that {@link toBase64} does not write. */
export function fromBase64(text: unknown): Uint8Array | undefined {
  if (typeof text !== "string") return undefined;
  if (text.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(text)) return undefined;
  const padding = text.endsWith("==") ? 2 : text.endsWith("=") ? 1 : 0;
  const bytes = new Uint8Array((text.length / 4) * 3 - padding);
  for (let i = 0, at = 0; i < text.length; i += 4, at += 3) {
    let word = 0;
    for (let j = 0; j < 4; j++) {
      const char = text[i + j];
      word = (word << 6) | (char === "=" || char === undefined ? 0 : ALPHABET.indexOf(char));
    }
    for (let j = 0; j < 3 && at + j < bytes.length; j++)
      bytes[at + j] = (word >>> (16 - 8 * j)) & 255;
  }
  return bytes;
}
