import type { Route, TransferStatus } from "./fabric/fabric.js";

declare module "@peerbar/core" {
  interface DmaBufEvents {
    /** A run of memory requests that ended in one place, or the first of them that failed. */
    tlp: {
      readonly requester: string;
      readonly kind: "read" | "write";
      readonly translated: boolean;
      /** As it is on the wires of the requester. */
      readonly address: bigint;
      readonly length: number;
      readonly status: TransferStatus;
      /** Undefined where it failed. */
      readonly route: Route | undefined;
      /** Ports and host bridges (`pci0000:3b`) on its way, in order: up, then down. Where it failed: as far as it came. */
      readonly path: readonly string[];
      /** The completions of a peer read went through the host bridge (ACS completion redirect). */
      readonly completionRedirected: boolean;
      /** Function that answered, or `ram`; undefined where it failed. */
      readonly target: string | undefined;
    };
    /** A function was pulled out. */
    unplug: { readonly function: string };
    /** A function was put in again. */
    plug: { readonly function: string };
    /** A function was reset, or came back from it. */
    "function-reset": { readonly function: string; readonly phase: "begin" | "end" };
  }
}
