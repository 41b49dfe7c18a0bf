import {
  combineSinks,
  type DmaBufEvent,
  type EventSink,
  hex,
  MicrotaskScheduler,
  type PciBar,
  type Scheduler,
  type Slice,
} from "@peerbar/core";
import { MockIommu } from "@peerbar/iommu-mock";
import { Iommufd } from "@peerbar/iommufd";
import type { P2pdma, PciTopology } from "@peerbar/p2pdma";
import { Machine, type SimFunction } from "@peerbar/pcie-sim";
import { VfioPci } from "@peerbar/vfio-pci";
import type { Cast } from "./choose.js";
import { DemoFailed } from "./timeline.js";

/** Bytes shared in the story: 2 MiB, or the whole BAR where it is smaller. */
const SHARE_BYTES = 0x20_0000n;

/** The simulated machine with everything the story needs on it. */
export interface Scene {
  readonly machine: Machine;
  readonly iommu: MockIommu;
  readonly vfio: VfioPci;
  readonly iommufd: Iommufd;
  readonly provider: SimFunction;
  readonly client: SimFunction;
  readonly bystander: SimFunction;
  readonly bar: PciBar;
  /** The exported part of the BAR, in bytes. */
  readonly share: { readonly offset: bigint; readonly length: bigint };
  /** Everything core and the rooms told, in order. */
  readonly events: DmaBufEvent[];
  readonly sink: EventSink;
  readonly scheduler: Scheduler;
}

/**
 * Builds the machine of a topology, IOMMU on, and puts the rooms together: nobody else does.
 *
 * @param listener - hears every event besides the scene's own list
 */
export function setScene(
  topology: PciTopology,
  p2pdma: P2pdma,
  cast: Cast,
  range: Slice | undefined,
  listener?: EventSink,
): Scene {
  const scheduler = new MicrotaskScheduler();
  const events: DmaBufEvent[] = [];
  const keep: EventSink = {
    emit: (event) => {
      events.push(event);
    },
  };
  const sink = listener === undefined ? keep : combineSinks(keep, listener);
  const iommu = new MockIommu({ mode: "dma", scheduler, events: sink });
  const machine = Machine.from(topology, { iommu, scheduler, events: sink });
  const provider = machine.function(cast.provider.address);
  const bar = provider.bars[cast.bar.index];
  if (bar === undefined) {
    throw new DemoFailed(
      `${cast.provider.address} lost BAR ${String(cast.bar.index)} on the way into the machine`,
    );
  }
  return {
    machine,
    iommu,
    vfio: new VfioPci({ p2pdma, scheduler, events: sink }),
    iommufd: new Iommufd(iommu, { events: sink }),
    provider,
    client: machine.function(cast.client.address),
    bystander: machine.function(cast.bystander.address),
    bar,
    share: range ?? shareOf(bar),
    events,
    sink,
    scheduler,
  };
}

/** Neither the first nor the last page where the BAR has room, so that bytes next to the share can be watched. */
function shareOf(bar: PciBar): { offset: bigint; length: bigint } {
  const whole = bar.length - (bar.length % 4096n);
  if (whole >= SHARE_BYTES * 4n) return { offset: SHARE_BYTES, length: SHARE_BYTES };
  if (whole >= 4n * 4096n) return { offset: 4096n, length: whole - 2n * 4096n };
  return { offset: 0n, length: whole };
}

/** `BAR 1 [0x200000, 0x400000)`. */
export function shareText(scene: Scene): string {
  const { offset, length } = scene.share;
  return `BAR ${String(scene.bar.index)} [${hex(offset)}, ${hex(offset + length)})`;
}
