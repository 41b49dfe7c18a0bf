/** Inside the machine: loops of ioctls by @peerbar/linux, against the same loops in C, in turns of one boot. */
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { close, ioctl, iommufd, vfio } from "@peerbar/linux";
import { bindToVfio, exportRequest, KernelDevice } from "../differential/kernel-device.js";

const EXPORTER = "0000:01:00.0";
const LENGTH = 0x10_0000;
const TARGET = 1.5;
const ROUNDS = 6;
const COUNT = Number(process.env.PEERBAR_LAB_LOOPS ?? "600");

type Loop = "map" | "export";

const source = fileURLToPath(new URL("loops.c", import.meta.url));
const program = "/tmp/loops";
const compiled = spawnSync("gcc", ["-O2", "-Wall", "-o", program, source], { encoding: "utf8" });
if (compiled.status !== 0) throw new Error(`gcc: ${compiled.stderr}`);
bindToVfio(EXPORTER);

let worst = 0;
for (const loop of ["map", "export"] as const) {
  // The first rounds are V8's to find out what is hot.
  for (let warm = 0; warm < 3; warm++) inTypeScript(loop);
  const ours: number[] = [];
  const theirs: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    ours.push(inTypeScript(loop));
    theirs.push(inC(loop));
  }
  const ratio = best(ours) / best(theirs);
  worst = Math.max(worst, ratio);
  const name = loop === "map" ? "MAP_FILE + UNMAP of 1 MiB" : "export + close";
  console.log(
    `${name}: TypeScript ${micro(best(ours))}, C ${micro(best(theirs))}, ratio ${ratio.toFixed(2)} (target ${String(TARGET)})`,
  );
}
process.exitCode = worst <= TARGET ? 0 : 1;

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

/** The round that the rest of the computer disturbed least. */
function best(values: readonly number[]): number {
  return Math.min(...values);
}

function micro(nanoseconds: number): string {
  return `${(nanoseconds / 1000).toFixed(1)} us`;
}
