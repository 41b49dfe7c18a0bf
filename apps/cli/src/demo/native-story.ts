import { hex, type Iova, iova, isDmaBufError, type Slice } from "@peerbar/core";
import { FaultLog, type NativeDmaBuf, type NativeVfioDevice } from "@peerbar/iommu-native";
import { EduDevice } from "@peerbar/iommu-native/edu";
import { type Ioas, type IoasMapping, Iommufd } from "@peerbar/iommufd";
import { formatBytes } from "@peerbar/words";
import type { NativeWorld } from "../share/native-world.js";
import { pattern, sameBytes } from "./bytes.js";
import type { NativeCast } from "./native.js";
import type { Timeline } from "./timeline.js";

/** Bytes shared unless a range is given, and bytes of each transfer: the engine's buffer, twice. */
const SHARE_BYTES = 0x10_0000n;
const MESSAGE = 8192;

/** Everything on stage. */
interface Stage {
  readonly told: Timeline;
  readonly cast: NativeCast;
  readonly device: NativeVfioDevice;
  readonly buffer: NativeDmaBuf;
  readonly share: Slice;
  readonly ioas: Ioas;
  readonly engine: EduDevice;
  readonly faults: FaultLog;
}

/** Decide is done; export, import, bytes, reset, fault, memory off, recovery. Whatever happens, what was opened here is closed. */
export async function tellNative(
  told: Timeline,
  world: NativeWorld,
  cast: NativeCast,
  range: Slice | undefined,
): Promise<void> {
  const { provider, client, bar } = cast;
  const device = await world.open(provider.address);
  const size = device.region(bar).size;
  const share = range ?? { offset: 0n, length: size < SHARE_BYTES ? size : SHARE_BYTES };
  const buffer = await exportNative(told, device, cast, share);
  try {
    await using iommufd = new Iommufd(world.iommu);
    const ioas = iommufd.allocIoas();
    const opened = await world.open(client.address);
    ioas.attach(world.function(client.address));
    using faults = new FaultLog();
    // The engine reads a log of its own, so that what it takes is not missing here.
    using own = new FaultLog();
    using engine = new EduDevice(opened, ioas.space, { faults: own });
    await play({ told, cast, device, buffer, share, ioas, engine, faults });
  } finally {
    buffer.close();
  }
}

async function exportNative(
  told: Timeline,
  device: NativeVfioDevice,
  { provider, bar }: NativeCast,
  share: Slice,
): Promise<NativeDmaBuf> {
  const end = share.offset + share.length;
  told.step(
    `vfio-pci exports BAR ${String(bar)} [${hex(share.offset)}, ${hex(end)}) of ${provider.address}`,
  );
  const buffer = await device.exportDmaBuf({ bar, ranges: [share], name: "peerbar-demo" });
  told.say(`dma-buf fd ${String(buffer.fd)}, ${formatBytes(buffer.size)}`, {
    bar,
    offset: hex(share.offset),
    length: hex(share.length),
  });
  told.check("lseek says the same size", buffer.size === share.length, hex(buffer.size));
  const past = { offset: device.region(bar).size, length: 4096n };
  const code = await codeOf(async () => {
    (await device.exportDmaBuf({ bar, ranges: [past] })).close();
  });
  told.check(
    "a range past the BAR's end is refused with EINVAL (vfio-pci-dmabuf V20)",
    code === "EINVAL",
    code,
  );
  return buffer;
}

async function play(stage: Stage): Promise<void> {
  const { told, cast, ioas } = stage;
  told.step(`iommufd puts it into the address space of ${cast.client.address}`);
  const mapping = await map(stage);
  const code = await codeOf(() => map(stage, mapping.iova));
  told.check("the same IOVA again is refused with EEXIST (iommufd M17)", code === "EEXIST", code);
  await moveBytes(stage, mapping, "bytes flow, both ways", 1);
  await reset(stage, mapping);
  await memoryOff(stage);
  told.step("memory is back: iommufd maps anew");
  const freed = await mapping.unmap();
  told.check(
    "unmapping the dead mapping returns its full length (iommufd R16)",
    freed === stage.buffer.size,
    hex(freed),
  );
  const renewed = await map(stage);
  await moveBytes(stage, renewed, "bytes flow again", 21);
  told.step("everyone lets go");
  const last = await renewed.unmap();
  told.check("the mapping is gone", last === stage.buffer.size, hex(last));
  told.check("the address space is empty", ioas.areaCount === 0, String(ioas.areaCount));
}

async function map({ told, ioas, buffer }: Stage, at?: Iova): Promise<IoasMapping> {
  const slice = { offset: 0n, length: buffer.size };
  const mapping = await ioas.mapDmaBuf(buffer, { slice, access: "rw", iova: at });
  told.say(`IOVA ${hex(mapping.iova)}`, { iova: hex(mapping.iova), ioas: ioas.space.id });
  return mapping;
}

/** The engine writes into the BAR and reads from it; the CPU looks at the same bytes through vfio. */
async function moveBytes(
  stage: Stage,
  mapping: IoasMapping,
  title: string,
  seed: number,
): Promise<void> {
  const { told, cast, device, share, engine } = stage;
  told.step(title);
  const length = Math.min(MESSAGE, Number(share.length));
  const sent = pattern(length, seed);
  const wrote = await engine.write(mapping.iova, sent);
  told.check(
    `${cast.client.address} writes ${formatBytes(BigInt(length))} at IOVA ${hex(mapping.iova)}`,
    wrote.status === "ok",
    wrote.status,
  );
  const found = new Uint8Array(length);
  device.readBar(cast.bar, share.offset, found);
  told.check("the BAR holds exactly those bytes", sameBytes(found, sent));
  const upper = share.length - BigInt(length);
  const placed = pattern(length, seed + 1);
  device.writeBar(cast.bar, share.offset + upper, placed);
  const back = new Uint8Array(length);
  const read = await engine.read(iova(mapping.iova + upper), back);
  told.check(
    `${cast.client.address} reads what the CPU wrote at the end of it`,
    read.status === "ok" && sameBytes(back, placed),
    read.status,
  );
}

async function reset(stage: Stage, mapping: IoasMapping): Promise<void> {
  const { told, cast, device, share, engine, faults } = stage;
  told.step(`${cast.provider.address} is reset: the kernel revokes first`);
  await device.reset();
  told.check(
    "the mapping is dead for good, the IOVA stays taken (iommufd R15, R16)",
    mapping.revoked,
  );
  const before = new Uint8Array(4096);
  device.readBar(cast.bar, share.offset, before);
  faults.take();
  const late = await engine.write(mapping.iova, pattern(4096, 99));
  told.check(
    `${cast.client.address} writes to its old IOVA and is stopped`,
    late.status === "iommu-fault",
    late.status,
  );
  const after = new Uint8Array(4096);
  device.readBar(cast.bar, share.offset, after);
  told.check("the BAR is untouched", sameBytes(after, before));
  const fault = faults.take().find(({ device: who }) => who === cast.client.address);
  told.check(
    "the IOMMU reported who and where",
    fault?.iova === mapping.iova,
    fault === undefined ? "no fault in the kernel log" : hex(fault.iova),
  );
  told.say(`kernel: ${fault?.text ?? ""}`, { fault: fault?.text });
}

async function memoryOff(stage: Stage): Promise<void> {
  const { told, cast, device } = stage;
  told.step(`memory decode of ${cast.provider.address} is switched off`);
  await device.setMemory(false);
  const code = await codeOf(() => map(stage));
  told.check("a new map gives ENODEV (vfio-pci-dmabuf R10, R20)", code === "ENODEV", code);
  await device.setMemory(true);
}

async function codeOf(action: () => Promise<unknown>): Promise<string> {
  try {
    await action();
    return "no error";
  } catch (error) {
    if (isDmaBufError(error)) return error.code;
    throw error;
  }
}
