import { DmaBufError, type Slice } from "@peerbar/core";

const units = { "": 0n, k: 10n, m: 20n, g: 30n, t: 40n } as const;

/** Bytes as people write them: `4096`, `0x1000`, `64K`, `2M`, `1G`. Undefined where the text is none. */
function parseBytes(text: string): bigint | undefined {
  const match = /^(0x[0-9a-f]+|\d+)([kmgt]?)(?:i?b)?$/i.exec(text);
  const [, digits, unit] = match ?? [];
  if (digits === undefined) return undefined;
  return BigInt(digits) << units[(unit ?? "").toLowerCase() as keyof typeof units];
}

/**
 * A range of a BAR: `OFFSET+LENGTH`.
 *
 * @throws DmaBufError EINVAL where the text is none. Whether it fits the BAR is the exporter's to say.
 */
export function parseRange(text: string): Slice {
  const [offset, length] = text.split("+").map(parseBytes);
  if (offset === undefined || length === undefined || text.split("+").length !== 2) {
    throw new DmaBufError("EINVAL", "--range", `"${text}" is no range`, {
      hint: "write OFFSET+LENGTH, such as 0+2M or 0x1000+0x3000",
    });
  }
  return { offset, length };
}
