import type { FieldSpec, Struct } from "./struct.js";

/** An ioctl of the uAPI headers. */
export interface Request {
  /** As strace spells it: `"IOMMU_IOAS_MAP_FILE"`. */
  readonly name: string;
  /** The request number, direction and size bits included. */
  readonly number: number;
  /** What the argument points to; undefined where it is a number, a string or nothing. */
  readonly struct?: { readonly name: string; readonly size: number } | undefined;
}

/** An ioctl whose argument points to a struct with the fields `F`. */
export interface StructRequest<F extends readonly FieldSpec[]> extends Request {
  readonly struct: Struct<F>;
}

/** A request without a struct: its argument is a number, a string, an `int *`, or nothing. */
export function plain(name: string, number: number): Request {
  return { name, number };
}

/** A request whose argument points to one struct. */
export function request<F extends readonly FieldSpec[]>(
  name: string,
  number: number,
  struct: Struct<F>,
): StructRequest<F> {
  return { name, number, struct };
}
