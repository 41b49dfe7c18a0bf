import type { SparseMemory } from "../sparse-memory.js";
import type { Bus } from "./node.js";
import type { Span } from "./range-table.js";

/** What a stretch of CPU physical addresses leads to: host memory, or a root bus. */
export type SystemRegion = Span &
  (
    | { readonly kind: "ram"; readonly memory: SparseMemory }
    | {
        readonly kind: "bus";
        readonly bus: Bus;
        /** Pages to add for the bus address; a host bridge translates by whole pages. */
        readonly busOffsetPages: number;
      }
  );
