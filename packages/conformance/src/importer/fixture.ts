import type { DmaBuf, Slice } from "@peerbar/core";
import type { Subject } from "../case.js";
import type { PhysicalMemory } from "../reference/physical-memory.js";

/** Every name of {@link ImporterCapability}: what is not here is a slip of the pen, and would only skip cases. */
export const importerCapabilities = [
  "sgt",
  "phys",
  "fd",
  "revocable",
  "dynamic",
  "final",
  "pins",
  "dma",
  "multi-range",
  "kernel-fences",
  "cpu-pages",
  "keys",
  "rereg",
] as const;

/**
 * What an importer can do, as data.
 *
 * | name | meaning |
 * |---|---|
 * | `sgt` | maps buffers (accepts `sgt`) |
 * | `phys` | takes physical ranges (accepts `phys`) |
 * | `fd` | takes descriptors of a running kernel (accepts `fd`); the memory has `descriptors` |
 * | `revocable` | has invalidateMappings |
 * | `dynamic` | maps again by itself once the exporter has restored the memory |
 * | `final` | takes a revoke as final: the import is dead afterwards |
 * | `pins` | pins what it imports |
 * | `dma` | the fixture moves bytes: `write` |
 * | `multi-range` | takes buffers of several separate ranges |
 * | `kernel-fences` | waits for KERNEL fences before it uses a mapping |
 * | `cpu-pages` | has a way to ask for CPU pages of an import, which must be refused: `pages` |
 * | `keys` | gives remote keys to imports: `key`, and `write` works by key |
 * | `rereg` | changes an import in place: `rereg` |
 */
export type ImporterCapability = (typeof importerCapabilities)[number];

/** One buffer in the importer's hands. */
export interface ImportedBuffer {
  /** Ends the import: nothing of the buffer is held afterwards. Twice is harmless. */
  close(): void | Promise<void>;
  /**
   * The importing device writes at `offset` bytes of the imported slice. True where the device saw success. False where it did not, as for
   * bytes that are not all inside the slice.
   */
  write?(offset: bigint, bytes: Uint8Array): Promise<boolean>;
  /** Asks for the pages as the CPU sees them, as an in-kernel user would. Throws: a dma-buf has none to give. */
  pages?(): unknown;
  /** By which others name this import; taken until it is closed. */
  readonly key?: number;
  /** Changes the import's rights in place, or, with `memory`, what it shows: the whole of that buffer. */
  rereg?(memory?: DmaBuf): Promise<void>;
}

/** One importer, ready to import buffers of the suite's own exporter. */
export interface ImporterFixture {
  /** The memory that the suite's exporter shares; the importing device's engine reaches it by physical address. */
  readonly memory: PhysicalMemory;
  /** Imports a part of the buffer; the reference stays the suite's. Rejects with the errno where it cannot be done. */
  import(buffer: DmaBuf, slice: Slice): Promise<ImportedBuffer>;
}

/** An importer under test. */
export interface ImporterSubject extends Subject<ImporterFixture, ImporterCapability> {
  readonly role: "importer";
}
