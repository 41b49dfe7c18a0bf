import {
  type BarExporter,
  type DmaBuf,
  DmaBufError,
  hex,
  PAGE_SIZE,
  type Slice,
} from "@peerbar/core";
import { type Ioas, type IoasMapping, Iommufd } from "@peerbar/iommufd";
import { P2pdma, type P2pdmaDecision } from "@peerbar/p2pdma";
import type { ExitCode } from "../exit.js";
import type { Io } from "../io.js";
import { parseRange } from "../quantity.js";
import { type HoldEnd, parseHold, SignalWatch } from "./hold.js";
import { Teller } from "./teller.js";
import { type BackendName, parseBackend, type ShareWorld } from "./world.js";

export interface ShareOptions {
  readonly bar?: string | undefined;
  readonly range?: string | undefined;
  readonly backend?: string | undefined;
  readonly hold?: string | undefined;
  readonly anyway?: boolean | undefined;
  readonly force?: boolean | undefined;
  readonly file?: string | undefined;
  readonly cpu?: string | undefined;
  readonly json?: boolean | undefined;
}

/** What is shared with whom. */
export interface Share {
  readonly provider: string;
  readonly client: string;
  readonly bar: number;
  readonly slice: Slice;
  readonly decision: P2pdmaDecision;
}

/** What is held meanwhile, newest last. */
export interface Held {
  readonly exporter: BarExporter;
  readonly buffer: DmaBuf;
  readonly ioas: Ioas;
  readonly mapping: IoasMapping;
}

/** `peerbar share PROVIDER CLIENT --bar N`: the main job, on the kernel or as a rehearsal. */
export async function share(
  io: Io,
  options: ShareOptions,
  provider: string,
  client: string,
): Promise<ExitCode> {
  const bar = parseBar(options.bar);
  const range = options.range === undefined ? undefined : parseRange(options.range);
  const backend = backendOf(options);
  const seconds = parseHold(options.hold) ?? (backend === "mock" ? 0 : undefined);
  const teller = new Teller(io, options.json === true);
  const signals = new SignalWatch();
  try {
    const world = await makeWorld(backend, options);
    try {
      const what = plan(world, provider, client, bar, range);
      teller.plan(world, what);
      const { mapType } = what.decision;
      if (mapType === "not-supported" && options.anyway !== true) return teller.refused(what);
      await shareAndHold(world, what, teller, () => signals.hold(seconds));
    } finally {
      await world.close();
    }
    return teller.released(world.leftovers());
  } finally {
    signals.stop();
  }
}

/** Every step undoes itself when a later one fails. */
async function shareAndHold(
  world: ShareWorld,
  what: Share,
  teller: Teller,
  hold: () => Promise<HoldEnd>,
): Promise<void> {
  const exporter = await world.open(what.provider);
  const buffer = await exporter.exportDmaBuf({
    bar: what.bar,
    ranges: [what.slice],
    name: "peerbar-share",
  });
  try {
    if (what.client !== what.provider) await world.open(what.client);
    await using iommufd = new Iommufd(world.iommu);
    const ioas = iommufd.allocIoas();
    ioas.attach(world.function(what.client));
    const slice = { offset: 0n, length: buffer.size };
    const mapping = await ioas.mapDmaBuf(buffer, { slice, access: "rw" });
    teller.shared(world, what, { exporter, buffer, ioas, mapping });
    teller.end(await hold());
    await mapping.unmap();
    ioas.detach(world.function(what.client));
  } finally {
    buffer.close();
  }
}

function plan(
  world: ShareWorld,
  provider: string,
  client: string,
  bar: number,
  range: Slice | undefined,
): Share {
  const { topology, cpu } = world.subject;
  const decision = new P2pdma(topology, { cpu }).decide(provider, client);
  const info = topology.at(decision.provider).bars[bar];
  if (info?.kind !== "memory") {
    throw new DmaBufError("ENODEV", "share", `${decision.provider} has no memory BAR ${bar}`, {
      hint: `lspci -v -s ${decision.provider} lists them`,
      rule: "vfio-pci-dmabuf V12",
    });
  }
  return {
    provider: decision.provider,
    client: decision.client,
    bar,
    slice: range ?? wholeBar(info.length, decision.provider, bar),
    decision,
  };
}

function wholeBar(length: bigint | undefined, provider: string, bar: number): Slice {
  if (length === undefined) {
    throw new DmaBufError("EINVAL", "share", `the size of BAR ${bar} of ${provider} is not shown`, {
      hint: "name a part of it with --range",
    });
  }
  if (length < BigInt(PAGE_SIZE)) {
    throw new DmaBufError("EINVAL", "share", `BAR ${bar} of ${provider} has ${hex(length)} bytes`, {
      hint: "a BAR below one page cannot be shared",
      rule: "vfio-pci-dmabuf R4",
    });
  }
  return { offset: 0n, length: length - (length % BigInt(PAGE_SIZE)) };
}

async function makeWorld(backend: BackendName, options: ShareOptions): Promise<ShareWorld> {
  if (backend === "mock") return (await import("./mock-world.js")).mockWorld(options);
  return (await import("./native-world.js")).nativeWorld(options);
}

function parseBar(text: string | undefined): number {
  if (text !== undefined && /^[0-5]$/.test(text)) return Number(text);
  throw new DmaBufError("EINVAL", "--bar", text === undefined ? "missing" : `"${text}" is no BAR`, {
    hint: "name the BAR to share: --bar 0 to --bar 5",
  });
}

function backendOf({ backend, file }: ShareOptions): BackendName {
  const name = parseBackend(backend, "native");
  if (name === "native" && file !== undefined) {
    throw new DmaBufError("EINVAL", "--file", "a capture cannot be shared from", {
      hint: "--backend mock rehearses it",
    });
  }
  return name;
}
