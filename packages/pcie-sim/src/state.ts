import { DmaBufError } from "@peerbar/core";
import { fromBase64, toBase64 } from "./base64.js";
import type { HostMemory } from "./host-memory.js";
import type { SimFunction } from "./sim-function.js";
import type { SparseMemory } from "./sparse-memory.js";

/** Bytes of one allocated piece of memory, in base64. */
export interface SavedPiece {
  /** From the start of the BAR; the CPU physical address for host memory. */
  readonly offset: number;
  readonly bytes: string;
}

/** Registers and BAR memory of one function. */
export interface SavedFunction {
  readonly address: string;
  readonly present: boolean;
  /** Configuration space in base64. */
  readonly config: string;
  readonly bars: readonly { readonly index: number; readonly pieces: readonly SavedPiece[] }[];
}

/**
 * A machine as JSON: registers and every byte that is not zero. The IOMMU, device models and transfers in flight are not in it: save a
 * machine that is at rest.
 */
export interface MachineState {
  readonly kind: "peerbar-machine";
  readonly version: 1;
  readonly functions: readonly SavedFunction[];
  readonly ram: { readonly next: string; readonly pieces: readonly SavedPiece[] };
}

export function saveState(functions: readonly SimFunction[], ram: HostMemory): MachineState {
  return {
    kind: "peerbar-machine",
    version: 1,
    functions: functions.map((fn) => ({
      address: fn.name,
      present: fn.present,
      config: toBase64(fn.saveConfig()),
      bars: fn.memoryBars.flatMap((bar) =>
        bar.memory.allocated === 0 ? [] : [{ index: bar.index, pieces: savePieces(bar.memory) }],
      ),
    })),
    ram: { next: String(ram.next), pieces: savePieces(ram.memory) },
  };
}

/** Checks everything first: a state that does not fit changes nothing. @throws DmaBufError EINVAL */
export function restoreState(
  state: MachineState,
  functions: readonly SimFunction[],
  ram: HostMemory,
): void {
  const plan: Plan = { clears: [], writes: [] };
  check(isState(state), "this is no saved machine of version 1");
  check(state.functions.length === functions.length, "it has another number of functions");
  for (const [i, fn] of functions.entries()) {
    const saved = state.functions[i];
    check(saved?.address === fn.name, `it has no ${fn.name} at this place`);
    planFunction(saved, fn, plan);
  }
  plan.clears.push(() => {
    ram.memory.clear();
  });
  planMemory(state.ram.pieces, ram.memory, "host memory", plan);
  const next = /^\d{1,20}$/.test(state.ram.next) ? BigInt(state.ram.next) : undefined;
  check(next !== undefined, "its host memory has no end");
  for (const step of [...plan.clears, ...plan.writes]) step();
  ram.next = next;
}

/** What a restore will do, once all of it is known to fit. */
interface Plan {
  readonly clears: (() => void)[];
  readonly writes: (() => void)[];
}

function planFunction(saved: SavedFunction, fn: SimFunction, plan: Plan): void {
  check(isList(saved.bars), `${fn.name} has no list of BARs`);
  check(typeof saved.present === "boolean", `it does not say whether ${fn.name} is present`);
  const config = fromBase64(saved.config);
  check(
    config?.length === fn.saveConfig().length,
    `the configuration space of ${fn.name} has another size`,
  );
  for (const { memory } of fn.memoryBars) {
    plan.clears.push(() => {
      memory.clear();
    });
  }
  for (const { index, pieces } of saved.bars) {
    const bar = fn.memoryBars.find((one) => one.index === index);
    check(bar !== undefined, `${fn.name} has no BAR ${String(index)}`);
    planMemory(pieces, bar.memory, `${fn.name} BAR ${String(index)}`, plan);
  }
  plan.writes.push(() => {
    fn.restoreConfig(config, saved.present);
  });
}

function planMemory(
  pieces: readonly SavedPiece[],
  memory: SparseMemory,
  where: string,
  plan: Plan,
): void {
  check(isList(pieces), `${where} has no pieces`);
  for (const { offset, bytes: text } of pieces) {
    const bytes = fromBase64(text);
    const fits =
      bytes !== undefined &&
      Number.isSafeInteger(offset) &&
      offset >= 0 &&
      offset + bytes.length <= memory.size;
    check(fits, `a piece of ${where} does not fit`);
    plan.writes.push(() => {
      memory.write(offset, bytes, 0, bytes.length);
    });
  }
}

/** Pages with anything but zeros; pieces never pass the end of a BAR. */
function savePieces(memory: SparseMemory): SavedPiece[] {
  return memory.pieces().map(({ offset, bytes }) => {
    const inside = bytes.subarray(0, Math.min(bytes.length, memory.size - offset));
    const last = inside.findLastIndex((byte) => byte !== 0);
    const first = inside.findIndex((byte) => byte !== 0);
    return { offset: offset + first, bytes: toBase64(inside.subarray(first, last + 1)) };
  });
}

function isState(state: unknown): boolean {
  if (!isObject(state)) return false;
  const { kind, version, functions, ram } = state;
  return kind === "peerbar-machine" && version === 1 && isList(functions) && isObject(ram);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

/** Saved states come from files: a list of objects, or it is refused. */
function isList(value: unknown): boolean {
  return Array.isArray(value) && value.every(isObject);
}

function check(fine: boolean, reason: string): asserts fine {
  if (fine) return;
  throw new DmaBufError("EINVAL", "machine.restore", reason, {
    hint: "restore a machine that was built from the same topology with the same options",
  });
}
