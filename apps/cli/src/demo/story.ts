import { type DmaBuf, hex, isDmaBufError } from "@peerbar/core";
import type { Ioas, IoasMapping } from "@peerbar/iommufd";
import {
  type MemoryRegion,
  MrAccess,
  type QueuePair,
  RdmaDevice,
  type WorkCompletion,
} from "@peerbar/rdma";
import { attachKind, type VfioPciDevice } from "@peerbar/vfio-pci";
import { plural } from "../wrap.js";
import { pattern, sameBytes } from "./bytes.js";
import { type Scene, shareText } from "./scene.js";
import type { Timeline } from "./timeline.js";

/** What the importers hold while the story runs. */
export interface Props {
  readonly device: VfioPciDevice;
  readonly buffer: DmaBuf;
  readonly ioas: Ioas;
  readonly mapping: IoasMapping;
  readonly region: MemoryRegion;
  readonly pair: QueuePair;
}

/** Bytes of each test write. */
const MESSAGE = 64 * 1024;

const PCI_COMMAND = 4;
const COMMAND_MEMORY = 0x2;

/** Opens the provider through vfio-pci and exports part of its BAR. */
export async function exportBar(
  scene: Scene,
  told: Timeline,
): Promise<Pick<Props, "device" | "buffer">> {
  const { provider, bar, share } = scene;
  told.step(`vfio-pci exports ${shareText(scene)} of ${provider.pciAddress} as a dma-buf`);
  const device = await scene.vfio.open(provider);
  const buffer = await device.exportDmaBuf({ bar: bar.index, ranges: [share] });
  told.say(
    `CPU physical ${hex(bar.start + share.offset)}, bus address ${hex(bar.busStart + share.offset)}, ${size(share.length)}`,
    {
      bar: bar.index,
      offset: hex(share.offset),
      length: hex(share.length),
      physAddr: hex(bar.start + share.offset),
      busAddr: hex(bar.busStart + share.offset),
    },
  );
  told.check(
    `the buffer has ${hex(buffer.size)} bytes`,
    buffer.size === share.length,
    hex(buffer.size),
  );
  const past = { offset: bar.length - (bar.length % 4096n), length: 4096n };
  const code = await codeOf(() => device.exportDmaBuf({ bar: bar.index, ranges: [past] }));
  told.check(
    "a range past the BAR's end is refused with EINVAL (vfio-pci-dmabuf V20)",
    code === "EINVAL",
    code,
  );
  return { device, buffer };
}

/** iommufd: attaches, never maps, asks for the physical range and puts it into an address space. */
export async function importIntoIommufd(
  scene: Scene,
  told: Timeline,
  buffer: DmaBuf,
): Promise<Pick<Props, "ioas" | "mapping">> {
  const { bystander } = scene;
  told.step(
    `iommufd imports it for ${bystander.pciAddress}: attach, agree on "phys", map into an address space`,
  );
  const ioas = scene.iommufd.allocIoas();
  ioas.attach(bystander);
  const slice = { offset: 0n, length: buffer.size };
  const mapping = await ioas.mapDmaBuf(buffer, { slice, access: "rw" });
  told.say(
    `IOVA ${hex(mapping.iova)} in the address space; the exporter made no DMA mapping for it`,
    {
      device: bystander.pciAddress,
      iova: hex(mapping.iova),
      interconnect: "phys",
    },
  );
  const mapped = [...buffer.attachments].reduce((sum, attachment) => sum + attachment.mappings, 0);
  told.check("no scatterlist is mapped: this importer never maps", mapped === 0, String(mapped));
  const code = await codeOf(() =>
    ioas.mapDmaBuf(buffer, { slice, iova: mapping.iova, access: "rw" }),
  );
  told.check("the same IOVA again is refused with EEXIST (iommufd M17)", code === "EEXIST", code);
  return { ioas, mapping };
}

/** rdma: attaches, has the exporter map it for the NIC, and builds a memory region. */
export async function importIntoRdma(
  scene: Scene,
  told: Timeline,
  buffer: DmaBuf,
): Promise<Pick<Props, "region" | "pair">> {
  const { client } = scene;
  told.step(
    `rdma imports it for ${client.pciAddress}: attach, map a scatterlist, register a memory region`,
  );
  const rdma = new RdmaDevice(client, { events: scene.sink, scheduler: scene.scheduler });
  const pd = rdma.allocPd();
  const access = MrAccess.LOCAL_WRITE | MrAccess.REMOTE_WRITE | MrAccess.REMOTE_READ;
  const whole = { offset: 0n, length: buffer.size, iova: 0n, access };
  const refused = await codeOf(() => pd.regDmaBufMr(buffer, { ...whole, mode: "pinned" }));
  told.check(
    "a pinned importer that cannot let go is refused with EOPNOTSUPP (vfio-pci-dmabuf R10)",
    refused === "EOPNOTSUPP",
    refused,
  );
  const region = await pd.regDmaBufMr(buffer, { ...whole, mode: "dynamic" });
  const attachment = [...buffer.attachments].find((one) => one.device === client);
  const kind = attachment === undefined ? "none" : (attachKind(attachment) ?? "none");
  const mapped = scene.events.findLast((event) => event.type === "map");
  const address = mapped === undefined ? "none" : hex(mapped.first);
  const space = mapped?.space === "iova" ? "IOVA" : "bus address";
  told.say(
    `attach kind ${kind}: ${space} ${address}, ${plural(region.entries, "entry", "entries")}, page size ${size(region.pageSize ?? 0n)}, rkey ${hex(region.rkey)}`,
    {
      device: client.pciAddress,
      attachKind: kind,
      dmaAddress: address,
      space: mapped?.space,
      entries: region.entries,
      rkey: hex(region.rkey),
    },
  );
  told.check("the region is live", region.state === "live", region.state);
  const pair = pd.createQp();
  pair.connect(pair);
  return { region, pair };
}

/** Both importers write and read back; the BAR is compared byte by byte, and everything around it is watched. */
export async function moveBytes(
  scene: Scene,
  told: Timeline,
  props: Props,
  title: string,
  seed: number,
): Promise<void> {
  told.step(title);
  const { bar, share, bystander, client, machine } = scene;
  const sim = scene.provider.bar(bar.index);
  machine.clean();
  const length = Math.min(MESSAGE, Number(share.length) / 2);
  const first = pattern(length, seed);
  const second = pattern(length, seed + 1);
  const upper = Number(share.length) - length;

  const wrote = await bystander.engine.write(props.mapping.iova, first);
  told.check(
    `${bystander.pciAddress} writes ${size(BigInt(length))} at IOVA ${hex(props.mapping.iova)}`,
    wrote.status === "ok",
    wrote.status,
  );
  told.check("the BAR holds exactly those bytes", sameBytes(sim.peek(share.offset, length), first));

  const done = await rdmaWrite(props, upper, second);
  told.check(
    `${client.pciAddress} RDMA-writes ${size(BigInt(length))} at offset ${hex(upper)} of the region`,
    done.status === "success",
    done.status,
  );
  told.check(
    "the BAR holds exactly those bytes",
    sameBytes(sim.peek(share.offset + BigInt(upper), length), second),
  );

  const back = new Uint8Array(length);
  const read = await bystander.engine.read(props.mapping.iova, back);
  told.check(
    `${bystander.pciAddress} reads its bytes back`,
    read.status === "ok" && sameBytes(back, first),
    read.status,
  );
  const { region, pair } = props;
  const remoteAddr = region.iova + BigInt(upper);
  const remote = await pair.postRead({ local: back, remoteAddr, rkey: region.rkey });
  told.check(
    `${client.pciAddress} reads its bytes back`,
    remote.status === "success" && sameBytes(back, second),
    remote.status,
  );

  const outside = dirtyOutside(scene);
  told.check("nothing else in the machine changed", outside.length === 0, outside.join(", "));
}

/** Reset of the exporter: revoke, drain, and what becomes of both importers. */
export async function resetProvider(scene: Scene, told: Timeline, props: Props): Promise<void> {
  const { bystander, client } = scene;
  told.step(`${scene.provider.pciAddress} is reset: revoke first, then the hardware`);
  const before = scene.events.length;
  await props.device.reset();
  const order = scene.events
    .slice(before)
    .map((event) => event.type)
    .filter((type) => ["revoke", "invalidate", "unmap", "drained", "restore"].includes(type));
  told.say(`events: ${order.join(" -> ")}`, { events: order });
  told.check(
    "the buffer was marked revoked before any importer was told (known-bugs B12)",
    order.indexOf("revoke") >= 0 && order.indexOf("revoke") < order.indexOf("invalidate"),
    order.join(" "),
  );
  told.check(
    "every mapping was gone before the reset went on (vfio-pci-dmabuf R16)",
    order.indexOf("drained") > order.indexOf("unmap"),
    order.join(" "),
  );
  scene.iommu.faults.clear();
  scene.machine.clean();
  const late = await bystander.engine.write(props.mapping.iova, pattern(4096, 99));
  told.check(
    `${bystander.pciAddress} writes to its old IOVA and is stopped`,
    late.status === "iommu-fault",
    late.status,
  );
  const [fault] = scene.iommu.faults;
  told.check(
    "the IOMMU recorded who, where and why",
    fault?.device === bystander.pciAddress && fault.iova === props.mapping.iova,
    fault === undefined ? "no fault" : `${fault.device} ${hex(fault.iova)}`,
  );
  if (fault !== undefined) {
    told.say(
      `fault: ${fault.device} ${fault.access === "w" ? "write" : "read"} at ${hex(fault.iova)}: ${fault.reason}`,
      {
        fault: { ...fault, iova: hex(fault.iova) },
      },
    );
  }
  told.check(
    "its mapping is dead for good, the IOVA stays taken (iommufd R15, R16)",
    props.mapping.revoked,
  );
  const again = await rdmaWrite(props, 0, pattern(4096, 7));
  told.check(
    `${client.pciAddress} faults its region in again and goes on (rdma-umem R23)`,
    again.status === "success",
    again.status,
  );
}

/** Memory decode off: everything is refused while it lasts. */
export async function disableMemory(scene: Scene, told: Timeline, props: Props): Promise<void> {
  told.step(
    `memory decode of ${scene.provider.pciAddress} is switched off: nothing reaches the BAR`,
  );
  const command = props.device.readConfig(PCI_COMMAND, 2);
  await props.device.writeConfig(PCI_COMMAND, 2, command & ~COMMAND_MEMORY);
  scene.machine.clean();
  const slice = { offset: 0n, length: props.buffer.size };
  const code = await codeOf(() => props.ioas.mapDmaBuf(props.buffer, { slice, access: "rw" }));
  told.check("a new map gives ENODEV (vfio-pci-dmabuf R10, R20)", code === "ENODEV", code);
  const write = await rdmaWrite(props, 0, pattern(4096, 8));
  told.check(
    `${scene.client.pciAddress} gets ${write.status}, not success (rdma-umem R18)`,
    write.status === "remote-access-error",
    write.status,
  );
  const touched = scene.machine.dirty();
  told.check("no byte moved", touched.length === 0, touched.map((place) => place.where).join(", "));
  await props.device.writeConfig(PCI_COMMAND, 2, command | COMMAND_MEMORY);
}

/** Memory is back: the dead mapping is replaced, and bytes flow as before. */
export async function recover(_scene: Scene, told: Timeline, props: Props): Promise<Props> {
  told.step("memory is back: iommufd maps anew, the RDMA region faults in");
  const freed = await props.mapping.unmap();
  told.check(
    "unmapping the dead mapping returns its full length (iommufd R16)",
    freed === props.buffer.size,
    hex(freed),
  );
  const slice = { offset: 0n, length: props.buffer.size };
  const mapping = await props.ioas.mapDmaBuf(props.buffer, { slice, access: "rw" });
  told.say(`new IOVA ${hex(mapping.iova)}`, { iova: hex(mapping.iova) });
  return { ...props, mapping };
}

/** Everything is given back; nothing is left behind. */
export async function finish(scene: Scene, told: Timeline, props: Props): Promise<void> {
  told.step("everyone lets go");
  await props.region.dereg();
  await props.mapping.unmap();
  await props.ioas.close();
  const left = [...props.buffer.attachments].length;
  told.check("no attachment is left on the buffer", left === 0, String(left));
  await props.device.close();
  const code = await codeOf(() =>
    Promise.resolve(
      props.buffer.attach(scene.client, {
        allowPeer2Peer: true,
        invalidateMappings: () => undefined,
      }),
    ),
  );
  told.check(
    "the device is closed: the buffer is still there, attaching gives ENODEV (vfio-pci-dmabuf R28)",
    code === "ENODEV",
    code,
  );
  props.buffer.close();
}

/** Page ranges written outside the shared part of the BAR. */
function dirtyOutside(scene: Scene): string[] {
  const first = Number(scene.share.offset / 4096n);
  const end = first + Number(scene.share.length / 4096n);
  const own = `${scene.provider.pciAddress} BAR ${String(scene.bar.index)}`;
  return scene.machine.dirty().flatMap(({ where, pages }) => {
    const stray = where === own ? pages.filter((page) => page < first || page >= end) : pages;
    return stray.length === 0 ? [] : [`${where} page ${hex(stray[0] ?? 0)}`];
  });
}

/** RDMA write of local bytes into the region, over the loopback queue pair. */
function rdmaWrite(props: Props, offset: number, bytes: Uint8Array): Promise<WorkCompletion> {
  const { region, pair } = props;
  // The first error ends a queue pair, as in hardware: a program resets and connects it again.
  if (pair.state === "error") {
    pair.reset();
    pair.connect(pair);
  }
  return pair.postWrite({
    local: bytes,
    remoteAddr: region.iova + BigInt(offset),
    rkey: region.rkey,
  });
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

/** 2097152n -> `2 MiB`. */
function size(bytes: bigint): string {
  for (const [unit, name] of [
    [1n << 30n, "GiB"],
    [1n << 20n, "MiB"],
    [1n << 10n, "KiB"],
  ] as const) {
    if (bytes >= unit && bytes % unit === 0n) return `${String(bytes / unit)} ${name}`;
  }
  return `${String(bytes)} bytes`;
}
