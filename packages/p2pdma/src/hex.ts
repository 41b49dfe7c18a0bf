/** So many hexadecimal digits, without 0x: `00a1`. */
export function hexDigits(value: number, digits: number): string {
  return value.toString(16).padStart(digits, "0");
}

/** A register or an ID as JSON shows it: `0x10de`; undefined where the input does not show it. */
export function hexNumber(value: number, digits: number): string;
export function hexNumber(value: number | undefined, digits: number): string | undefined;
export function hexNumber(value: number | undefined, digits: number): string | undefined {
  return value === undefined ? undefined : `0x${hexDigits(value, digits)}`;
}

/** A vendor or device ID as `lspci -n` prints it: `10de`; `????` where the input does not show it. */
export function formatId(id: number | undefined): string {
  return id === undefined ? "????" : hexDigits(id, 4);
}
