import {
  type DmaAddr,
  DmaBufError,
  type DmaDevice,
  PAGE_SIZE,
  type PciFunction,
  type Slice,
} from "@peerbar/core";
import type { IommuMode } from "@peerbar/iommu-mock";
import { MockIommu } from "@peerbar/iommu-mock";
import {
  ACS_REDIRECT,
  acsBits,
  type CpuKind,
  P2pdma,
  type PciFunctionInfo,
  type PciTopology,
} from "@peerbar/p2pdma";
import { VfioPci, type VfioPciDevice } from "@peerbar/vfio-pci";
import {
  type BarLengths,
  type HostBridgeForwarding,
  Machine,
  type SimFunction,
} from "../../src/index.js";

export interface World {
  readonly topology: PciTopology;
  readonly machine: Machine;
  readonly p2pdma: P2pdma;
  readonly iommu: MockIommu;
  readonly vfio: VfioPci;
  readonly mutant: Mutant;
}

/**
 * Ways to get the mapping wrong. `ignore-acs`: the decision sees no ACS. `ignore-bus-offset`: the exporter takes CPU for bus addresses.
 * `wrong-iova-offset`: ranges of an IOVA span are linked in the wrong order.
 */
export type Mutant = "none" | "ignore-acs" | "ignore-bus-offset" | "wrong-iova-offset";

export interface WorldOptions {
  readonly mode: IommuMode;
  readonly cpu?: CpuKind;
  readonly mutant?: Mutant;
  readonly barLengths?: BarLengths;
  /** What host bridges do; forwarding is what p2pdma takes for granted where it says so. */
  readonly forwarding?: HostBridgeForwarding;
}

export function makeWorld(topology: PciTopology, options: WorldOptions): World {
  const { mode, mutant = "none" } = options;
  const iommu = new MockIommu({ mode });
  const machine = Machine.from(topology, {
    iommu,
    barLengths: options.barLengths,
    hostBridgeForwarding: options.forwarding,
  });
  const cpu = options.cpu === undefined ? {} : { cpu: options.cpu };
  const p2pdma = new P2pdma(topology, cpu);
  if (mutant === "ignore-acs") {
    for (const fn of topology.functions) p2pdma.setAcs(fn.address, { state: "none" });
  }
  return { topology, machine, p2pdma, iommu, vfio: new VfioPci({ p2pdma }), mutant };
}

export interface Share {
  readonly provider: SimFunction;
  readonly bar: number;
  readonly ranges: readonly Slice[];
  readonly client: SimFunction;
}

/** `refused`: no mapping was made. `moved`: every byte is where it belongs. `stopped`: the fabric refused, nothing changed, and PCIe says why. */
export type Verdict = "refused" | "moved" | "stopped";

const MASTER = 0x4;

/**
 * The property: maps ranges of a BAR for a client by the exporter's rules, and lets the client write and read all of it. Every byte must
 * land where the ranges say, and nothing else in the machine may change.
 *
 * @throws Error saying what went wrong
 */
export async function shareAndCheck(world: World, share: Share): Promise<Verdict> {
  const { machine } = world;
  const { provider, client } = share;
  // Closing a device ends its bus mastering; its next driver turns it on.
  for (const fn of [provider, client]) fn.writeConfig(4, 2, fn.readConfig(4, 2) | MASTER);
  const device = await world.vfio.open(mutateProvider(world, provider));
  try {
    return await mapAndCheck(world, share, device);
  } finally {
    await device.close();
    for (const bar of provider.memoryBars) bar.memory.clear();
    machine.clean();
  }
}

async function mapAndCheck(world: World, share: Share, device: VfioPciDevice): Promise<Verdict> {
  const { bar, ranges, client } = share;
  const buffer = await device.exportDmaBuf({ bar, ranges });
  const attachment = buffer.attach(mutateClient(world, client), {
    allowPeer2Peer: true,
    invalidateMappings: () => undefined,
  });
  const held = await buffer.reservation.lock();
  try {
    const table = attachment.map("bidirectional", held);
    try {
      world.machine.clean();
      return moveAll(world, share, [...table]);
    } finally {
      attachment.unmap(table, "bidirectional", held);
    }
  } catch (error) {
    if (error instanceof DmaBufError && error.code === "EINVAL") return "refused";
    throw error;
  } finally {
    held.release();
    attachment.detach();
    buffer.close();
  }
}

/** Deterministic bytes that differ from page to page of the buffer, and within a page. */
function pattern(page: number): Uint8Array {
  return Uint8Array.from(
    { length: PAGE_SIZE },
    (_, i) => (page * 37 + i * 11 + (i >> 8) + 1) & 0xff,
  );
}

function moveAll(
  world: World,
  share: Share,
  entries: readonly { readonly address: DmaAddr; readonly length: number }[],
): Verdict {
  const { machine } = world;
  const { provider, client, ranges } = share;
  const memory = provider.bar(share.bar);
  const expected = new Map<number, Uint8Array>();
  const places = ranges.flatMap(({ offset, length }) =>
    Array.from({ length: Number(length / 4096n) }, (_, i) => Number(offset / 4096n) + i),
  );
  const addresses = entries.flatMap(({ address, length }) =>
    Array.from(
      { length: length / PAGE_SIZE },
      (_, i) => (address + BigInt(i * PAGE_SIZE)) as DmaAddr,
    ),
  );
  if (addresses.length !== places.length) throw wrong(share, "the mapping has another size");
  for (const [page, address] of addresses.entries()) {
    const bytes = pattern(page);
    const done = client.engine.writeNow(address, bytes);
    if (done.status !== "ok") {
      if (machine.dirty().length > 0 && page === 0)
        throw wrong(share, "a failed write changed bytes");
      if (page === 0 && isPciesOwn(world, share, done.status)) return "stopped";
      throw wrong(share, `a write ended in ${done.status}`);
    }
    expected.set(places[page] ?? -1, bytes);
  }
  for (const [place, bytes] of expected) {
    if (!equal(memory.peek(place * PAGE_SIZE, PAGE_SIZE), bytes))
      throw wrong(share, "bytes are in the wrong place");
  }
  const dirty = machine.dirty();
  const where = `${provider.name} BAR ${String(share.bar)}`;
  const [only] = dirty;
  const pages = [...expected.keys()].sort((a, b) => a - b);
  if (dirty.length !== 1 || only?.where !== where || only.pages.join() !== pages.join()) {
    throw wrong(share, `something else changed: ${JSON.stringify(dirty)}`);
  }
  readBack(share, addresses, places, expected);
  return "moved";
}

function readBack(
  share: Share,
  addresses: readonly DmaAddr[],
  places: readonly number[],
  expected: ReadonlyMap<number, Uint8Array>,
): void {
  const back = new Uint8Array(PAGE_SIZE);
  for (const [page, address] of addresses.entries()) {
    const done = share.client.engine.readNow(address, back);
    const bytes = expected.get(places[page] ?? -1);
    if (done.status !== "ok" || bytes === undefined || !equal(back, bytes)) {
      throw wrong(share, "a read gives other bytes than were written");
    }
  }
}

/**
 * Two things that PCIe refuses and p2pdma does not look at, both only with untranslated addresses: a redirected request that comes back to
 * the switch port it came through needs upstream forwarding there, and egress control without request redirect is a violation.
 */
function isPciesOwn(world: World, { provider, client }: Share, status: string): boolean {
  const { iommu, p2pdma } = world;
  if (iommu.mode === "dma" || iommu.mode === "dma-fq" || world.mutant !== "none") return false;
  const decision = p2pdma.decide(provider.name, client.name);
  const path = [...decision.upPath, ...decision.downPath];
  const control = path.map(({ acs }) => (acs.state === "present" ? acs.control : 0));
  if (!control.some((bits) => (bits & ACS_REDIRECT) !== 0)) return false;
  if (status === "completer-abort") return control.some((bits) => (bits & acsBits.EC) !== 0);
  if (status !== "unsupported-request") return false;
  return portsAbove(world, client).some(
    ({ portType, acs }) =>
      portType === "switch-downstream" &&
      (acs.state !== "present" || (acs.control & acsBits.UF) === 0),
  );
}

function portsAbove({ topology }: World, { info }: SimFunction): PciFunctionInfo[] {
  const above: PciFunctionInfo[] = [];
  for (
    let fn = topology.functions[info.parent];
    fn !== undefined;
    fn = topology.functions[fn.parent]
  ) {
    above.push(fn);
  }
  return above;
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

function wrong({ provider, bar, ranges, client }: Share, what: string): Error {
  const list = ranges.map(({ offset, length }) => `${String(offset)}+${String(length)}`).join(" ");
  return new Error(`${client.name} to ${provider.name} BAR ${String(bar)} [${list}]: ${what}`);
}

function mutateProvider({ mutant }: World, fn: SimFunction): PciFunction {
  if (mutant !== "ignore-bus-offset") return fn;
  return {
    name: fn.name,
    pciAddress: fn.pciAddress,
    dmaMask: fn.dmaMask,
    isVirtual: fn.isVirtual,
    get powerState() {
      return fn.powerState;
    },
    bars: fn.bars.map((bar) =>
      bar === undefined
        ? undefined
        : {
            index: bar.index,
            kind: bar.kind,
            length: bar.length,
            start: bar.start,
            busStart: bar.start as never,
          },
    ),
    readConfig: (offset, size) => fn.readConfig(offset, size),
    writeConfig: (offset, size, value) => {
      fn.writeConfig(offset, size, value);
    },
    reset: () => fn.reset(),
  };
}

function mutateClient({ mutant }: World, fn: SimFunction): DmaDevice {
  const { dma } = fn;
  if (mutant !== "wrong-iova-offset") return fn;
  return {
    name: fn.name,
    pciAddress: fn.pciAddress,
    dmaMask: fn.dmaMask,
    dma: {
      space: dma.space,
      tryAllocIova: (size) => dma.tryAllocIova(size),
      link: (state, offset, range, direction) => {
        dma.link(state, state.size - offset - range.length, range, direction);
      },
      sync: (state, offset, length) => {
        dma.sync(state, offset, length);
      },
      unlink: (state, offset, length) => {
        dma.unlink(state, offset, length);
      },
      free: (state) => {
        dma.free(state);
      },
      destroy: (state, mapped) => {
        dma.destroy(state, mapped);
      },
      mapPhys: (range, direction) => dma.mapPhys(range, direction),
      unmapPhys: (address, length, direction) => {
        dma.unmapPhys(address, length, direction);
      },
    },
  };
}
