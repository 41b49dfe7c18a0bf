import { ParseError } from "./parse-error.js";

const DAMAGED =
  "the capture is damaged or was edited wrongly: take it again with `peerbar capture`";

interface Origin {
  readonly text: string;
  readonly name: string;
}

/** A JSON value with the path to it: every wrong kind of value becomes an error that names the place. */
export class Reader {
  readonly value: unknown;
  readonly #origin: Origin;
  readonly #path: string;
  /** Address of the function that the value belongs to: it finds the line. */
  readonly #near: string | undefined;

  constructor(value: unknown, origin: Origin, path = "", near?: string) {
    this.value = value;
    this.#origin = origin;
    this.#path = path;
    this.#near = near;
  }

  error(reason: string, hint?: string): ParseError {
    const { text, name } = this.#origin;
    const at = this.#near === undefined ? 0 : Math.max(0, text.indexOf(`"${this.#near}"`));
    const line = text.slice(0, at).split("\n").length;
    const where = this.#path === "" ? "" : `${this.#path}: `;
    return new ParseError(name, line, `${where}${reason}`, { hint: hint ?? DAMAGED });
  }

  /** The value of a key; undefined where it is absent or null. */
  optional(key: string): Reader | undefined {
    const { value } = this;
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw this.error("expected an object");
    }
    const found: unknown = Object.hasOwn(value, key)
      ? (value as Record<string, unknown>)[key]
      : undefined;
    if (found === undefined || found === null) return undefined;
    const path = this.#path === "" ? key : `${this.#path}.${key}`;
    const near = key === "address" && typeof found === "string" ? found : this.#near;
    return new Reader(found, this.#origin, path, near);
  }

  key(key: string): Reader {
    const found = this.optional(key);
    if (found === undefined) throw this.error(`"${key}" is missing`);
    return found;
  }

  list(most = Number.POSITIVE_INFINITY): Reader[] {
    if (!Array.isArray(this.value) || this.value.length > most) {
      throw this.error("expected a list");
    }
    return this.value.map((item: unknown, index) => {
      const address = addressOf(item) ?? this.#near;
      return new Reader(item, this.#origin, `${this.#path}[${index.toString()}]`, address);
    });
  }

  text(): string {
    if (typeof this.value !== "string") throw this.error("expected a string");
    return this.value;
  }

  boolean(): boolean {
    if (typeof this.value !== "boolean") throw this.error("expected true or false");
    return this.value;
  }

  number(): number {
    if (typeof this.value !== "number" || !Number.isFinite(this.value)) {
      throw this.error("expected a number");
    }
    return this.value;
  }

  integer(least = 0, most: number = Number.MAX_SAFE_INTEGER): number {
    const value = this.number();
    if (!Number.isInteger(value) || value < least || value > most) {
      throw this.error(`expected a whole number from ${least.toString()} to ${most.toString()}`);
    }
    return value;
  }

  oneOf<T extends string>(values: readonly T[]): T {
    const found = values.find((value) => value === this.value);
    if (found === undefined) throw this.error(`expected one of ${values.join(", ")}`);
    return found;
  }

  oneOfNumbers<T extends number>(values: readonly T[]): T {
    const found = values.find((value) => value === this.value);
    if (found === undefined) throw this.error(`expected one of ${values.join(", ")}`);
    return found;
  }

  /** `0x1f`, at most `most`. */
  hexNumber(most: number): number {
    const value = this.hexBigint();
    if (value > BigInt(most)) throw this.error(`expected at most 0x${most.toString(16)}`);
    return Number(value);
  }

  /** `0x` and up to 16 digits: a 64-bit address or length. */
  hexBigint(): bigint {
    const text = this.text();
    if (!/^0x[0-9a-f]{1,16}$/i.test(text)) throw this.error("expected a hexadecimal number: 0x1f");
    return BigInt(text);
  }
}

function addressOf(item: unknown): string | undefined {
  if (typeof item !== "object" || item === null || !("address" in item)) return undefined;
  return typeof item.address === "string" ? item.address : undefined;
}
