/**
 * Inside the machine: loops of ioctls by @peerbar/linux, against the same loops in C, in turns of one boot. Prints a line each, and leaves
 * the rounds in bench.json of the job's folder. The targets are those of the benchmark suite, whose cases these are.
 */
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { close, ioctl, ioctlStruct, iommufd, vfio } from "@peerbar/linux";
import { bindToVfio, exportRequest, KernelDevice } from "../differential/kernel-device.js";

const EXPORTER = "0000:01:00.0";
const LENGTH = 0x10_0000;
const PAGE = 0x1000;
const ROUNDS = 11;
const GROWTH_ROUNDS = 5;
const LOOKS = 6;
const LOOK_COUNT = 20;
const COUNT = Number(process.env.PEERBAR_LAB_LOOPS ?? "600");

type Loop = "map" | "export";

/** Ids as targets.json has them. */
const loops = [
  ["native/lab-map-unmap", "map", "MAP_FILE + UNMAP of 1 MiB"],
  ["native/lab-export-close", "export", "export + close"],
] as const;

const source = fileURLToPath(new URL("loops.c", import.meta.url));
const program = join(tmpdir(), "loops");
const compiled = spawnSync("gcc", ["-O2", "-Wall", "-o", program, source], { encoding: "utf8" });
if (compiled.status !== 0) throw new Error(`gcc: ${compiled.stderr}`);
bindToVfio(EXPORTER);

const measured = loops.map(([id, loop, name]) => {
  // The first rounds are V8's to find out what is hot.
  for (let warm = 0; warm < 3; warm++) inTypeScript(loop);
  const ns: number[] = [];
  const yardstickNs: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    // Whoever goes first does so every other time.
    if (round % 2 === 0) ns.push(inTypeScript(loop));
    yardstickNs.push(inC(loop));
    if (round % 2 === 1) ns.push(inTypeScript(loop));
  }
  const ratio = median(ns.map((value, round) => value / (yardstickNs[round] ?? Number.NaN)));
  const target = targetOf(id);
  console.log(
    `${name}: TypeScript ${micro(median(ns))}, C ${micro(median(yardstickNs))}, ratio ${ratio.toFixed(2)} (target ${String(target)})`,
  );
  return { id, ns, yardstickNs, short: !(ratio <= target) };
});
const rows = measured.map(({ id, ns, yardstickNs }) => ({ id, ns, yardstickNs }));
const growth = [exportByRanges(), mapByLiveMappings()];
for (const { id, points } of growth) {
  const told = points.map(({ size, ns }) => `${String(size)}: ${micro(median(ns))}`);
  console.log(`${id}: ${told.join(", ")}`);
}
writeFileSync("/run/lab/bench.json", JSON.stringify({ rows, growth }));
// Whoever takes the rows over judges them.
const judgedHere = process.env.PEERBAR_LAB_JUDGE !== "no";
process.exitCode = judgedHere && measured.some(({ short }) => short) ? 1 : 0;

function targetOf(id: string): number {
  const file = new URL("../../../apps/bench/targets.json", import.meta.url);
  const { ratios } = JSON.parse(readFileSync(file, "utf8")) as {
    ratios: Record<string, { ratio: number }>;
  };
  const target = ratios[id];
  if (target === undefined) throw new Error(`${id} has no target in ${file.pathname}`);
  return target.ratio;
}

/** Nanoseconds a turn. The structs are made once, as in C, where they lie on the stack. */
function inTypeScript(loop: Loop): number {
  const device = new KernelDevice(EXPORTER, true);
  const fd = device.exportDmaBuf(2, [[0, LENGTH]]);
  const turn = loop === "map" ? mapTurn(device, fd) : exportTurn(device);
  const started = process.hrtime.bigint();
  for (let done = 0; done < COUNT; done++) turn();
  const took = Number(process.hrtime.bigint() - started);
  close(fd);
  device.close();
  return took / COUNT;
}

/** How one loop grows: each size's rounds, in nanoseconds a turn. */
interface Series {
  readonly id: string;
  readonly points: { readonly size: number; readonly ns: number[] }[];
}

/** Export and close of as many ranges, each a page, as the structure around them allows. */
function exportByRanges(): Series {
  const device = new KernelDevice(EXPORTER, true);
  const points = [1, 4, 16, 64, 256].map((size) => {
    const ranges = Array.from({ length: size }, (_, at): [number, number] => [at * PAGE, PAGE]);
    const request = exportRequest(2, ranges);
    const turn = (): void => {
      close(ioctl(device.fd, vfio.VFIO_DEVICE_FEATURE, request));
    };
    return { size, ns: roundsOf(turn) };
  });
  device.close();
  return { id: "native/lab-export-ranges", points };
}

/** One more mapping and its end, in an address space that has so many. */
function mapByLiveMappings(): Series {
  const device = new KernelDevice(EXPORTER, true);
  const fd = device.exportDmaBuf(2, [[0, LENGTH]]);
  let live = 0;
  const points = [10, 100, 1_000, 3_000].map((size) => {
    for (; live < size; live++) mapOnce(device, fd);
    return { size, ns: roundsOf(mapTurn(device, fd)) };
  });
  close(fd);
  device.close();
  return { id: "native/lab-live-mappings", points };
}

/** A page of the buffer, for as long as the address space lives. */
function mapOnce({ iommu }: KernelDevice, fd: number): void {
  const flags = iommufd.IOMMU_IOAS_MAP_READABLE | iommufd.IOMMU_IOAS_MAP_WRITEABLE;
  ioctlStruct(iommu?.fd ?? -1, iommufd.IOMMU_IOAS_MAP_FILE, {
    flags,
    ioas_id: iommu?.ioas ?? 0,
    fd,
    length: BigInt(PAGE),
  });
}

/**
 * Nanoseconds a turn, of a few rounds: the emulator is slow, and what grows shows soon. A round is its fastest look, since sizes are not
 * measured in turn with anything, and what the host does meanwhile only adds.
 */
function roundsOf(turn: () => void): number[] {
  look(turn);
  return Array.from({ length: GROWTH_ROUNDS }, () =>
    Math.min(...Array.from({ length: LOOKS }, () => look(turn))),
  );
}

function look(turn: () => void): number {
  const started = process.hrtime.bigint();
  for (let done = 0; done < LOOK_COUNT; done++) turn();
  return Number(process.hrtime.bigint() - started) / LOOK_COUNT;
}

function mapTurn({ iommu }: KernelDevice, fd: number): () => void {
  if (iommu === undefined) throw new Error("no IOMMU");
  const length = BigInt(LENGTH);
  const flags = iommufd.IOMMU_IOAS_MAP_READABLE | iommufd.IOMMU_IOAS_MAP_WRITEABLE;
  const map = iommufd.IOMMU_IOAS_MAP_FILE.struct.encode({ flags, ioas_id: iommu.ioas, fd, length });
  const unmap = iommufd.IOMMU_IOAS_UNMAP.struct.encode({ ioas_id: iommu.ioas, length });
  const [mapped, unmapped] = [
    new DataView(map.buffer, map.byteOffset),
    new DataView(unmap.buffer, unmap.byteOffset),
  ];
  return () => {
    ioctl(iommu.fd, iommufd.IOMMU_IOAS_MAP_FILE, map);
    unmapped.setBigUint64(8, mapped.getBigUint64(32, true), true);
    unmapped.setBigUint64(16, length, true);
    ioctl(iommu.fd, iommufd.IOMMU_IOAS_UNMAP, unmap);
  };
}

function exportTurn(device: KernelDevice): () => void {
  const request = exportRequest(2, [[0, LENGTH]]);
  return () => {
    close(ioctl(device.fd, vfio.VFIO_DEVICE_FEATURE, request));
  };
}

function inC(loop: Loop): number {
  const [name = ""] = readdirSync(`/sys/bus/pci/devices/${EXPORTER}/vfio-dev`);
  const result = spawnSync(program, [`/dev/vfio/devices/${name}`, loop, String(COUNT)], {
    encoding: "utf8",
  });
  if (result.status !== 0) throw new Error(`loops: ${result.stderr}`);
  return Number(result.stdout);
}

/** Of an odd number of rounds. */
function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}

function micro(nanoseconds: number): string {
  return `${(nanoseconds / 1000).toFixed(1)} us`;
}
