/**
 * Events on Node's `diagnostics_channel`: what APM tools subscribe to. The one entry of this package that needs Node.
 */
import { type Channel, channel } from "node:diagnostics_channel";
import type { DmaBufEvent, EventSink } from "./event.js";

/**
 * A sink that publishes each event on the channel `PREFIX.TYPE` (`peerbar.dma-buf.map`), the event object as the message. A channel
 * nobody subscribed to costs a look-up.
 */
export function diagnosticsSink(prefix = "peerbar.dma-buf"): EventSink {
  const channels = new Map<string, Channel>();
  return {
    emit(event: DmaBufEvent): void {
      let target = channels.get(event.type);
      if (target === undefined) {
        target = channel(`${prefix}.${event.type}`);
        channels.set(event.type, target);
      }
      if (target.hasSubscribers) target.publish(event);
    },
  };
}
