import type { DmaBufEvent, EventSink } from "@peerbar/core";

type Tlp = Extract<DmaBufEvent, { type: "tlp" }>;

/** Collects what engines put on the wires. */
export function tlps(): { readonly events: Tlp[]; readonly sink: EventSink } {
  const events: Tlp[] = [];
  return {
    events,
    sink: {
      emit: (event) => {
        if (event.type === "tlp") events.push(event);
      },
    },
  };
}
