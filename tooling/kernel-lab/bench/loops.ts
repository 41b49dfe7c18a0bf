/** Inside the machine: loops of ioctls by @peerbar/linux, against the same loops in C, in turns of one boot. */
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { close, ioctlStruct, iommufd } from "@peerbar/linux";
import { bindToVfio, KernelDevice } from "../differential/kernel-device.js";

const EXPORTER = "0000:01:00.0";
const LENGTH = 0x10_0000;
const TARGET = 1.5;
const ROUNDS = 5;
const COUNT = Number(process.env.PEERBAR_LAB_LOOPS ?? "400");

type Loop = "map" | "export";

const source = fileURLToPath(new URL("loops.c", import.meta.url));
const program = "/tmp/loops";
const compiled = spawnSync("gcc", ["-O2", "-Wall", "-o", program, source], { encoding: "utf8" });
if (compiled.status !== 0) throw new Error(`gcc: ${compiled.stderr}`);
bindToVfio(EXPORTER);

let worst = 0;
for (const loop of ["map", "export"] as const) {
  inTypeScript(loop);
  const ours: number[] = [];
  const theirs: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    ours.push(inTypeScript(loop));
    theirs.push(inC(loop));
  }
  const ratio = median(ours) / median(theirs);
  worst = Math.max(worst, ratio);
  const name = loop === "map" ? "MAP_FILE + UNMAP of 1 MiB" : "export + close";
  console.log(
    `${name}: TypeScript ${micro(median(ours))}, C ${micro(median(theirs))}, ratio ${ratio.toFixed(2)} (target ${String(TARGET)})`,
  );
}
process.exitCode = worst <= TARGET ? 0 : 1;

/** Nanoseconds a turn. */
function inTypeScript(loop: Loop): number {
  const device = new KernelDevice(EXPORTER, true);
  const { iommu } = device;
  if (iommu === undefined) throw new Error("no IOMMU");
  const range = [[0, LENGTH]] as const;
  const fd = device.exportDmaBuf(2, range);
  const flags = iommufd.IOMMU_IOAS_MAP_READABLE | iommufd.IOMMU_IOAS_MAP_WRITEABLE;
  const length = BigInt(LENGTH);
  const { fd: file, ioas } = iommu;
  const started = process.hrtime.bigint();
  for (let turn = 0; turn < COUNT; turn++) {
    if (loop === "export") {
      close(device.exportDmaBuf(2, range));
      continue;
    }
    const { iova } = ioctlStruct(file, iommufd.IOMMU_IOAS_MAP_FILE, {
      flags,
      ioas_id: ioas,
      fd,
      length,
    }).out;
    ioctlStruct(file, iommufd.IOMMU_IOAS_UNMAP, { ioas_id: ioas, iova, length });
  }
  const took = Number(process.hrtime.bigint() - started);
  close(fd);
  device.close();
  return took / COUNT;
}

function inC(loop: Loop): number {
  const [name = ""] = readdirSync(`/sys/bus/pci/devices/${EXPORTER}/vfio-dev`);
  const result = spawnSync(program, [`/dev/vfio/devices/${name}`, loop, String(COUNT)], {
    encoding: "utf8",
  });
  if (result.status !== 0) throw new Error(`loops: ${result.stderr}`);
  return Number(result.stdout);
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}

function micro(nanoseconds: number): string {
  return `${(nanoseconds / 1000).toFixed(1)} us`;
}
