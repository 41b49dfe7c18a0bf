import { layouts } from "./machines.mjs";

/** What the kernel is told for each IOMMU mode; the hardware for it is in `iommuDevice`. */
const kernelArguments = {
  none: [],
  off: ["intel_iommu=off"],
  passthrough: ["intel_iommu=on", "iommu=pt"],
  dma: ["intel_iommu=on", "iommu.strict=1"],
  "dma-fq": ["intel_iommu=on", "iommu.strict=0"],
  // virtio-iommu does not remap interrupts: without this, iommufd refuses to bind a device (EPERM).
  virtio: ["iommufd.allow_unsafe_interrupts=1"],
  amd: ["iommu.strict=0"],
};

const vtd = "intel-iommu,intremap=on,device-iotlb=on";
const iommuDevice = {
  none: undefined,
  off: vtd,
  passthrough: vtd,
  dma: vtd,
  "dma-fq": vtd,
  virtio: "virtio-iommu-pci,bus=pcie.0,addr=1c",
  amd: "amd-iommu,intremap=on,device-iotlb=on",
};

/**
 * The command line of one machine.
 *
 * @param {import("./machines.mjs").MachineRow} machine
 * @param {{ image: string, jobFolder: string, init: string, accel: "tcg" | "kvm", cpus: number, memoryMiB: number }} boot
 * @returns {string[]} arguments of qemu-system-x86_64; descriptor 3, a socket, carries the job's stderr; the kernel's console
 *   goes to the file `console` of the job's folder, because a serial line drops what nobody takes at once
 */
export function qemuArguments(machine, boot) {
  const devices = new DeviceList(boot.jobFolder);
  devices.add(layouts[machine.layout](), "pcie.0");
  const iommu = iommuDevice[machine.iommu];
  return [
    ...["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"],
    ...[
      "-machine",
      `q35,accel=${boot.accel},kernel_irqchip=${boot.accel === "kvm" ? "split" : "off"}`,
    ],
    ...[
      "-cpu",
      machine.cpu,
      "-smp",
      `${boot.cpus},sockets=${boot.cpus}`,
      "-m",
      `${boot.memoryMiB}M`,
    ],
    ...numa(machine, boot),
    ...["-kernel", boot.image, "-append", kernelCommandLine(machine, boot)],
    ...["-chardev", `file,id=console,path=${boot.jobFolder}/console`, "-serial", "chardev:console"],
    ...["-chardev", "stdio,id=job,signal=off", "-chardev", "socket,id=complaints,fd=3"],
    ...["-device", "virtio-serial-pci,bus=pcie.0,addr=1d,max_ports=4"],
    ...["-device", "virtconsole,chardev=job", "-device", "virtconsole,chardev=complaints"],
    ...share("root", "/", "1e", "on"),
    ...share("job", boot.jobFolder, "1b", "off"),
    ...["-object", "rng-random,id=rng,filename=/dev/urandom"],
    ...["-device", "virtio-rng-pci,rng=rng,bus=pcie.0,addr=1a"],
    ...(iommu === undefined ? [] : ["-device", iommu]),
    ...devices.args,
  ];
}

/** What follows -append. */
export function kernelCommandLine(machine, boot) {
  return [
    "console=ttyS0,115200",
    "root=root rootfstype=9p rootflags=trans=virtio,version=9p2000.L,msize=512000,cache=loose ro",
    "panic=-1 oops=panic hung_task_panic=0 tsc=reliable no_timer_check loglevel=7 vfio.enable_unsafe_noiommu_mode=1",
    ...kernelArguments[machine.iommu],
    ...machine.kernel,
    `init=${boot.init}`,
  ].join(" ");
}

function numa(machine, boot) {
  const half = boot.memoryMiB / 2;
  const wantsNodes = JSON.stringify(layouts[machine.layout]()).includes("numa_node");
  if (!wantsNodes) return [];
  return [0, 1].flatMap((node) => [
    ...["-object", `memory-backend-ram,id=node${node},size=${half}M`],
    ...[
      "-numa",
      `node,nodeid=${node},memdev=node${node}${boot.cpus > 1 ? `,cpus=${halfOf(boot.cpus, node)}` : ""}`,
    ],
  ]);
}

/** The processors of one of two nodes, as a range. */
function halfOf(cpus, node) {
  const half = Math.ceil(cpus / 2);
  return node === 0 ? `0-${half - 1}` : `${half}-${cpus - 1}`;
}

function share(tag, path, slot, readonly) {
  return [
    "-fsdev",
    `local,id=${tag},path=${path},security_model=none,readonly=${readonly},multidevs=remap`,
    "-device",
    `virtio-9p-pci,fsdev=${tag},mount_tag=${tag},bus=pcie.0,addr=${slot}`,
  ];
}

/** Flattens a layout: parents first, each with an id, a bus and what its driver cannot do without. */
class DeviceList {
  /** @type {string[]} */
  args = [];
  #jobFolder;
  #counts = new Map();
  #chassis = 0;

  constructor(jobFolder) {
    this.#jobFolder = jobFolder;
  }

  /** @param {import("./machines.mjs").Device[]} devices */
  add(devices, bus) {
    for (const device of devices) {
      const id = this.#name(device.driver);
      const props = { ...this.#needs(device, id), ...device.props };
      const list = Object.entries(props).map(([name, value]) => `,${name}=${value}`);
      const at = device.at === undefined ? "" : `,addr=${device.at}`;
      this.args.push("-device", `${device.driver},id=${id},bus=${bus}${at}${list.join("")}`);
      if (device.under !== undefined) this.add(device.under, id);
    }
  }

  #name(driver) {
    const short = driver.split("-")[0];
    const next = this.#counts.get(short) ?? 0;
    this.#counts.set(short, next + 1);
    return `${short}${next}`;
  }

  #needs(device, id) {
    switch (device.driver) {
      case "ivshmem-plain": {
        const path = `${this.#jobFolder}/memory-${id}`;
        this.args.push(
          "-object",
          `memory-backend-file,id=ram-${id},mem-path=${path},size=${device.memory},share=on`,
        );
        return { memdev: `ram-${id}` };
      }
      case "nvme":
        this.args.push("-blockdev", `null-co,node-name=disk-${id},size=67108864,read-zeroes=on`);
        return { drive: `disk-${id}` };
      case "pcie-root-port":
      case "xio3130-downstream":
        this.#chassis += 1;
        return { chassis: this.#chassis, slot: this.#chassis };
      default:
        return {};
    }
  }
}
