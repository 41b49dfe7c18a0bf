import type { AttachKind } from "./attach-kind.js";

declare module "@peerbar/core" {
  interface DmaBufEvents {
    /** An attachment's way to the BAR was decided, at attach or again at map. */
    "attach-kind": {
      readonly buffer: string;
      readonly inode: number;
      readonly attachment: string;
      readonly kind: AttachKind;
    };
    /** What made vfio-pci take memory away, or give it back. Comes before anything is done. */
    trigger: { readonly device: string; readonly trigger: string };
    /** The buffer's mappings are void from here on: the flag is set, importers hear of it next. */
    revoke: { readonly buffer: string; readonly inode: number };
    /** The revoke waits for importers to unmap. */
    drain: { readonly buffer: string; readonly inode: number; readonly mappings: number };
    /** The revoke of one buffer is complete: no mapping, no fence is left. */
    drained: { readonly buffer: string; readonly inode: number };
    /** The buffer can be mapped again. */
    restore: { readonly buffer: string; readonly inode: number };
    /** CPU mappings of the BARs were taken down. */
    zap: { readonly device: string; readonly views: number };
  }
}
