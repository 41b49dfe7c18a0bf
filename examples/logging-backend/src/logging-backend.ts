import {
  type AddressSpace,
  type DmaMapper,
  hex,
  type IommuClient,
  type IommuPort,
  isDmaBufError,
  type SoftIommu,
} from "@peerbar/core";

/** One line for a log: who asked for what, and how it ended. */
export type LogLine = (line: string) => void;

/**
 * Any IOMMU, with a line in a log for everything it is asked to do: domains, mappings, IOVAs and what failed. Translations are not logged:
 * they are every access of every device.
 *
 * It adds nothing and hides nothing, so whatever passes the conformance suite passes it inside here too.
 */
export class LoggingBackend implements SoftIommu {
  readonly name: string;
  readonly #inner: SoftIommu;
  readonly #log: LogLine;

  constructor(inner: SoftIommu, log: LogLine) {
    this.name = `logging ${inner.name}`;
    this.#inner = inner;
    this.#log = log;
  }

  get accepts() {
    return this.#inner.accepts;
  }

  connect(client: IommuClient): IommuPort {
    const port = logged(this.#log, client.name, "connect", () => this.#inner.connect(client));
    const dma = loggedMapper(port.dma, client.name, this.#log);
    return {
      name: port.name,
      dma,
      // The hot path: handed through, nothing between.
      translate: (pfn, maxPages, write, out) => port.translate(pfn, maxPages, write, out),
    };
  }

  allocAddressSpace(): AddressSpace {
    const space = logged(this.#log, this.name, "allocAddressSpace", () =>
      this.#inner.allocAddressSpace(),
    );
    return loggedCalls(space, `address space ${space.id}`, spaceCalls, this.#log);
  }
}

const spaceCalls = [
  "allow",
  "allocDomain",
  "freeDomain",
  "attach",
  "detach",
  "map",
  "copy",
  "unmap",
  "unmapAll",
] as const;

const mapperCalls = [
  "tryAllocIova",
  "link",
  "sync",
  "unlink",
  "free",
  "destroy",
  "mapPhys",
  "unmapPhys",
] as const;

function loggedMapper(mapper: DmaMapper, name: string, log: LogLine): DmaMapper {
  return loggedCalls(mapper, name, mapperCalls, log);
}

/** The same object, with a line in the log for each of the calls named. Everything else goes straight through. */
function loggedCalls<T extends object>(
  target: T,
  who: string,
  calls: readonly (keyof T & string)[],
  log: LogLine,
): T {
  const proxy = new Proxy(target, {
    get(inner, key) {
      const member: unknown = Reflect.get(inner, key);
      if (typeof member !== "function") return member;
      const call = member as (...args: unknown[]) => unknown;
      const name = calls.find((one) => one === key);
      if (name === undefined) return call.bind(inner);
      return (...args: unknown[]) =>
        logged(log, who, `${name}(${args.map(brief).join(", ")})`, () =>
          call.apply(inner, args.map(unwrap)),
        );
    },
  });
  inside.set(proxy, target);
  return proxy;
}

/** What is inside each wrapper: an address space that is asked to copy from another has to be given its own kind. */
const inside = new WeakMap<object, object>();

function unwrap(value: unknown): unknown {
  return typeof value === "object" && value !== null ? (inside.get(value) ?? value) : value;
}

/** Runs the call, then tells its result or its errno, which is thrown on as it was. */
function logged<T>(log: LogLine, who: string, what: string, call: () => T): T {
  try {
    const result = call();
    const said = brief(result);
    log(said === "" ? `${who}: ${what}` : `${who}: ${what} = ${said}`);
    return result;
  } catch (error) {
    log(`${who}: ${what} failed: ${isDmaBufError(error) ? error.code : String(error)}`);
    throw error;
  }
}

/** Addresses in hex, names as they are, objects by what tells them apart. */
function brief(value: unknown): string {
  if (typeof value === "bigint") return hex(value);
  if (typeof value === "string" || typeof value === "number") return String(value);
  if (Array.isArray(value)) return `[${value.map(brief).join(" ")}]`;
  if (typeof value !== "object" || value === null) return "";
  const { start, address, iova, length, size, slice, name, id } = value as Record<string, unknown>;
  if (slice !== undefined)
    return `${brief(slice)}${iova === undefined ? "" : ` at ${brief(iova)}`}`;
  const at = start ?? address ?? iova;
  const bytes = length ?? size;
  if (at !== undefined) return `${brief(at)}+${brief(bytes)}`;
  return brief(name ?? id ?? (bytes === undefined ? undefined : `+${brief(bytes)}`));
}
