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
/** Lowest and highest value of the kinds that are numbers. */
const limits: Record<Exclude<ScalarKind, "u64" | "s64">, readonly [number, number]> = {
  u8: [0, 0xff],
  u16: [0, 0xffff],
  u32: [0, 0xffff_ffff],
  s32: [-0x8000_0000, 0x7fff_ffff],
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
  // Making a view costs more than filling it, and the same bytes are encoded, then decoded, and often used again.
  let bytesOfView: Uint8Array | undefined;
  let lastView: DataView = new DataView(new ArrayBuffer(0));
  const viewOf = (bytes: Uint8Array): DataView => {
    if (bytes !== bytesOfView) {
      lastView = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      bytesOfView = bytes;
    }
    return lastView;
  };
  return {
    name,
    size: total,
    fields,
    encode(values = {}, into = new Uint8Array(total)) {
      requireBytes(name, into, total);
      const view = viewOf(into);
      const given: Record<string, unknown> = values;
      into.fill(0, 0, total);
      for (const field of fields) {
        const value = given[field.name];
        if (value !== undefined) put(name, view, field, value);
      }
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

function requireBytes(name: string, bytes: Uint8Array, size: number): void {
  if (bytes.byteLength < size)
    throw new DmaBufError("EINVAL", name, `${bytes.byteLength} bytes, the struct has ${size}`);
}

/** The hot path of every ioctl: numbers stay numbers, and only what is a bigint already is written as one. */
function put(struct: string, view: DataView, field: StructField, value: unknown): void {
  const { kind, offset } = field;
  if (typeof kind !== "string") {
    putBytes(struct, view, field, value);
    return;
  }
  if (kind === "u64" || kind === "s64") {
    putWide(struct, view, field, kind, value);
    return;
  }
  const [low, high] = limits[kind];
  const number = typeof value === "bigint" ? Number(value) : value;
  if (typeof number !== "number" || !Number.isInteger(number) || number < low || number > high)
    throw misfit(struct, field, value);
  if (kind === "u32") view.setUint32(offset, number, true);
  else if (kind === "s32") view.setInt32(offset, number, true);
  else if (kind === "u16") view.setUint16(offset, number, true);
  else view.setUint8(offset, number);
}

function putWide(
  struct: string,
  view: DataView,
  field: StructField,
  kind: "u64" | "s64",
  value: unknown,
): void {
  const { offset } = field;
  if (typeof value === "number" && Number.isSafeInteger(value)) {
    if (value < 0 && kind === "u64") throw misfit(struct, field, value);
    view.setUint32(offset, value >>> 0, true);
    view.setInt32(offset + 4, Math.floor(value / 0x1_0000_0000), true);
    return;
  }
  if (typeof value !== "bigint") throw misfit(struct, field, value);
  if (kind === "u64") {
    if (BigInt.asUintN(64, value) !== value) throw misfit(struct, field, value);
    view.setBigUint64(offset, value, true);
  } else {
    if (BigInt.asIntN(64, value) !== value) throw misfit(struct, field, value);
    view.setBigInt64(offset, value, true);
  }
}

function misfit(struct: string, { name, kind }: StructField, value: unknown): DmaBufError {
  const wanted = typeof kind === "string" ? kind : `at most ${kind[1]} bytes`;
  return new DmaBufError("EINVAL", struct, `${name}: ${shown(value)} does not fit ${wanted}`);
}

function shown(value: unknown): string {
  if (typeof value === "bigint" && value >= 0n) return `${value} (${hex(value)})`;
  if (typeof value === "number" || typeof value === "bigint") return String(value);
  return value instanceof Uint8Array
    ? `${value.byteLength} bytes`
    : `a value of type ${typeof value}`;
}

function putBytes(struct: string, view: DataView, field: StructField, value: unknown): void {
  if (!(value instanceof Uint8Array) || value.byteLength > field.size)
    throw misfit(struct, field, value);
  new Uint8Array(view.buffer, view.byteOffset + field.offset, field.size).set(value);
}

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
