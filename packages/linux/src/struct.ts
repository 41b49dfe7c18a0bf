import { DmaBufError, hex } from "@peerbar/core";

/** Scalar kinds of the uAPI headers. Pointers are u64, as the headers have them. */
export type ScalarKind = "u8" | "u16" | "u32" | "s32" | "u64" | "s64";
/** A scalar, or an array of `count` of them; arrays of u8 are bytes, of others are not used. */
export type FieldKind = ScalarKind | readonly ["u8", number];

/** `[name, kind]`, or with where it lies when C's rules alone do not say (members of a union). */
export type FieldSpec = readonly [
  name: string,
  kind: FieldKind,
  place?: {
    /** Offset in bytes. */
    readonly at?: number;
    /** The member's C designator where it differs: `"add_reserved.start"`. */
    readonly c?: string;
  },
];

type Value<K extends FieldKind> = K extends "u64" | "s64"
  ? bigint
  : K extends ScalarKind
    ? number
    : Uint8Array;

/** Field names to values: u64 and s64 are bigint, byte arrays Uint8Array, all else number. */
export type StructValues<F extends readonly FieldSpec[]> = {
  -readonly [E in F[number] as E[0]]: Value<E[1]>;
};

/** One field as it lies in memory. */
export interface StructField {
  readonly name: string;
  readonly kind: FieldKind;
  /** Bytes from the start of the struct. */
  readonly offset: number;
  /** Bytes. */
  readonly size: number;
  /** What C calls it, for `offsetof`. */
  readonly c: string;
}

/** A uAPI struct: layout and codec. Little-endian; the platforms that are supported are. */
export interface Struct<F extends readonly FieldSpec[] = readonly FieldSpec[]> {
  /** As C names it, without `struct`. */
  readonly name: string;
  /** sizeof, bytes. */
  readonly size: number;
  readonly fields: readonly StructField[];
  /**
   * Bytes for the kernel. Fields left out are 0, but a leading `size` is sizeof, and a leading `argsz` the length of `into`.
   * @throws DmaBufError EINVAL: `into` is too short, or a value does not fit its field.
   */
  encode(values?: Partial<StructValues<F>>, into?: Uint8Array): Uint8Array;
  /** @throws DmaBufError EINVAL: fewer bytes than sizeof. */
  decode(bytes: Uint8Array): StructValues<F>;
}

const widths: Record<ScalarKind, number> = { u8: 1, u16: 2, u32: 4, s32: 4, u64: 8, s64: 8 };
const limits: Record<ScalarKind, readonly [bigint, bigint]> = {
  u8: [0n, 0xffn],
  u16: [0n, 0xffffn],
  u32: [0n, 0xffff_ffffn],
  s32: [-0x8000_0000n, 0x7fff_ffffn],
  u64: [0n, 0xffff_ffff_ffff_ffffn],
  s64: [-0x8000_0000_0000_0000n, 0x7fff_ffff_ffff_ffffn],
};

/** Declares a struct as data. Offsets follow C's alignment rules unless a field says where it lies; `size` is sizeof where a union decides. */
export function struct<const F extends readonly FieldSpec[]>(
  name: string,
  specs: F,
  size?: number,
): Struct<F> {
  const { fields, end } = layOut(specs);
  const total = size ?? end;
  const first = fields[0]?.name;
  return {
    name,
    size: total,
    fields,
    encode(values = {}, into = new Uint8Array(total)) {
      requireBytes(name, into, total);
      const view = viewOf(into);
      const given: Record<string, unknown> = values;
      for (const field of fields) put(name, view, field, given[field.name]);
      // iommufd refuses a size with anything but zeros behind the struct; vfio's argsz counts the payload.
      if (first === "size" && given.size === undefined) view.setUint32(0, total, true);
      if (first === "argsz" && given.argsz === undefined) view.setUint32(0, into.byteLength, true);
      return into;
    },
    decode(bytes) {
      requireBytes(name, bytes, total);
      const view = viewOf(bytes);
      const values: Record<string, unknown> = {};
      for (const field of fields) values[field.name] = get(view, field);
      return values as StructValues<F>;
    },
  };
}

function layOut(specs: readonly FieldSpec[]): { fields: StructField[]; end: number } {
  const fields: StructField[] = [];
  let end = 0;
  let alignment = 1;
  for (const [name, kind, place] of specs) {
    const scalar = typeof kind === "string" ? kind : kind[0];
    const width = widths[scalar];
    const size = typeof kind === "string" ? width : width * kind[1];
    const offset = place?.at ?? Math.ceil(end / width) * width;
    fields.push({ name, kind, offset, size, c: place?.c ?? name });
    end = Math.max(end, offset + size);
    alignment = Math.max(alignment, width);
  }
  return { fields, end: Math.ceil(end / alignment) * alignment };
}

const viewOf = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

function requireBytes(name: string, bytes: Uint8Array, size: number): void {
  if (bytes.byteLength < size)
    throw new DmaBufError("EINVAL", name, `${bytes.byteLength} bytes, the struct has ${size}`);
}

function put(struct: string, view: DataView, field: StructField, value: unknown): void {
  if (typeof field.kind !== "string") {
    putBytes(struct, view, field, value);
    return;
  }
  const number = value === undefined ? 0n : integer(struct, field, value);
  const [low, high] = limits[field.kind];
  if (number < low || number > high)
    throw new DmaBufError(
      "EINVAL",
      struct,
      `${field.name}: ${number} (${hex(number < 0n ? -number : number)}) does not fit ${field.kind}`,
    );
  writers[field.kind](view, field.offset, number);
}

function integer(struct: string, field: StructField, value: unknown): bigint {
  if (typeof value === "bigint") return value;
  if (typeof value === "number" && Number.isSafeInteger(value)) return BigInt(value);
  throw new DmaBufError("EINVAL", struct, `${field.name}: ${String(value)} is not an integer`);
}

function putBytes(struct: string, view: DataView, field: StructField, value: unknown): void {
  const target = new Uint8Array(view.buffer, view.byteOffset + field.offset, field.size);
  target.fill(0);
  if (value === undefined) return;
  if (!(value instanceof Uint8Array) || value.byteLength > field.size)
    throw new DmaBufError("EINVAL", struct, `${field.name}: at most ${field.size} bytes`);
  target.set(value);
}

const writers: Record<ScalarKind, (view: DataView, offset: number, value: bigint) => void> = {
  u8: (view, offset, value) => {
    view.setUint8(offset, Number(value));
  },
  u16: (view, offset, value) => {
    view.setUint16(offset, Number(value), true);
  },
  u32: (view, offset, value) => {
    view.setUint32(offset, Number(value), true);
  },
  s32: (view, offset, value) => {
    view.setInt32(offset, Number(value), true);
  },
  u64: (view, offset, value) => {
    view.setBigUint64(offset, value, true);
  },
  s64: (view, offset, value) => {
    view.setBigInt64(offset, value, true);
  },
};

function get(view: DataView, { kind, offset, size }: StructField): number | bigint | Uint8Array {
  if (typeof kind !== "string")
    return new Uint8Array(view.buffer, view.byteOffset + offset, size).slice();
  switch (kind) {
    case "u8":
      return view.getUint8(offset);
    case "u16":
      return view.getUint16(offset, true);
    case "u32":
      return view.getUint32(offset, true);
    case "s32":
      return view.getInt32(offset, true);
    case "u64":
      return view.getBigUint64(offset, true);
    case "s64":
      return view.getBigInt64(offset, true);
  }
}
