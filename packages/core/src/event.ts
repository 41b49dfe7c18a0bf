/**
 * What happens to buffers, as typed events for an injected sink. Nothing is built where no sink is given: every site asks first.
 * Packages add their own kinds by declaration merging.
 */
export interface DmaBufEvents {
  export: { readonly buffer: string; readonly exporter: string; readonly size: bigint };
  release: { readonly buffer: string };
  attach: {
    readonly buffer: string;
    readonly attachment: string;
    readonly device: string;
    readonly kind: string;
  };
  detach: { readonly buffer: string; readonly attachment: string };
  pin: { readonly buffer: string; readonly attachment: string };
  unpin: { readonly buffer: string; readonly attachment: string };
  map: {
    readonly buffer: string;
    readonly attachment: string;
    readonly entries: number;
    readonly size: bigint;
  };
  unmap: { readonly buffer: string; readonly attachment: string };
  open: { readonly buffer: string; readonly attachment: string; readonly interconnect: string };
  invalidate: { readonly buffer: string; readonly attachments: number };
  lock: { readonly lock: string };
  unlock: { readonly lock: string };
  fence: { readonly lock: string; readonly fence: string; readonly usage: string };
}

export type DmaBufEventType = keyof DmaBufEvents;
/** One event: its `type` beside the fields of {@link DmaBufEvents}. */
export type DmaBufEvent = {
  [T in DmaBufEventType]: { readonly type: T } & DmaBufEvents[T];
}[DmaBufEventType];

/** Receives events in the order they happen. Must not throw and must not call back into the model. */
export interface EventSink {
  emit(event: DmaBufEvent): void;
}
