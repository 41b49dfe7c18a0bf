import type { DmaAddr } from "./address.js";
import type { DmaSpace } from "./scatter-table.js";

/**
 * What happens to buffers, as typed events for an injected sink. Nothing is built where no sink is given: every site asks first.
 * Packages add their own kinds by declaration merging. `buffer` is the buffer's label, `inode` tells buffers of one label apart.
 */
export interface DmaBufEvents {
  export: {
    readonly buffer: string;
    readonly inode: number;
    readonly exporter: string;
    readonly size: bigint;
  };
  /** The exporter's release has run. */
  release: { readonly buffer: string; readonly inode: number };
  /** A reference was taken; `count` is how many there are now. */
  get: { readonly buffer: string; readonly inode: number; readonly count: number };
  put: { readonly buffer: string; readonly inode: number; readonly count: number };
  name: { readonly buffer: string; readonly inode: number; readonly name: string };
  attach: {
    readonly buffer: string;
    readonly inode: number;
    readonly attachment: string;
    readonly device: string;
    readonly kind: string;
  };
  detach: { readonly buffer: string; readonly inode: number; readonly attachment: string };
  pin: { readonly buffer: string; readonly inode: number; readonly attachment: string };
  unpin: { readonly buffer: string; readonly inode: number; readonly attachment: string };
  map: {
    readonly buffer: string;
    readonly inode: number;
    readonly attachment: string;
    /** Number of the mapping among the attachment's, from 1. */
    readonly mapping: number;
    readonly entries: number;
    readonly size: bigint;
    /** Where the first entry begins, and in which space. */
    readonly first: DmaAddr;
    readonly space: DmaSpace;
  };
  unmap: {
    readonly buffer: string;
    readonly inode: number;
    readonly attachment: string;
    readonly mapping: number;
  };
  open: {
    readonly buffer: string;
    readonly inode: number;
    readonly attachment: string;
    readonly interconnect: string;
  };
  /** The exporter refused: nothing changed. */
  refuse: {
    readonly buffer: string;
    readonly inode: number;
    readonly operation: string;
    readonly attachment: string;
    readonly code: string;
  };
  invalidate: { readonly buffer: string; readonly inode: number; readonly attachments: number };
  "cpu-begin": { readonly buffer: string; readonly inode: number; readonly direction: string };
  "cpu-end": { readonly buffer: string; readonly inode: number; readonly direction: string };
  vmap: { readonly buffer: string; readonly inode: number; readonly count: number };
  vunmap: { readonly buffer: string; readonly inode: number; readonly count: number };
  mmap: { readonly buffer: string; readonly inode: number; readonly size: bigint };
  munmap: { readonly buffer: string; readonly inode: number; readonly size: bigint };
  /** A poll waits for fences and keeps the buffer; `direction` is "in" or "out". */
  "poll-arm": { readonly buffer: string; readonly inode: number; readonly direction: string };
  "poll-fire": { readonly buffer: string; readonly inode: number; readonly direction: string };
  lock: { readonly lock: string };
  unlock: { readonly lock: string };
  /** A fence joined a reservation. */
  fence: { readonly lock: string; readonly fence: string; readonly usage: string };
  /** That fence signalled. */
  signal: { readonly lock: string; readonly fence: string };
}

/** Name of an event. */
export type DmaBufEventType = keyof DmaBufEvents;
/** One event: its `type` beside the fields of {@link DmaBufEvents}. */
export type DmaBufEvent = {
  [T in DmaBufEventType]: { readonly type: T } & DmaBufEvents[T];
}[DmaBufEventType];

/** Receives events in the order they happen. Must not throw and must not call back into the model. */
export interface EventSink {
  /** Takes one event. Called in the middle of the operation: it must not throw, and must not call back into the buffer. */
  emit(event: DmaBufEvent): void;
}

/** One sink that passes every event to all of `sinks`, in that order. */
export function combineSinks(...sinks: readonly EventSink[]): EventSink {
  return {
    emit(event: DmaBufEvent): void {
      for (const sink of sinks) sink.emit(event);
    },
  };
}
