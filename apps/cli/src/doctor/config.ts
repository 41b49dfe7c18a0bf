import type { Finding } from "./finding.js";
import type { Host } from "./host.js";
import type { Kernel } from "./kernel.js";

interface Need {
  readonly option: string;
  readonly why: string;
  /** `fail`: sharing needs it; `warn`: one way of sharing does. */
  readonly without: "fail" | "warn";
  /** Module to load where it is built as one. */
  readonly module?: string;
  /** Kernels before this do not have the option: the version finding says so. */
  readonly since?: number;
}

const needs: readonly Need[] = [
  { option: "PCI_P2PDMA", why: "decides who reaches whom", without: "fail" },
  { option: "DMA_SHARED_BUFFER", why: "dma-buf itself", without: "fail" },
  { option: "VFIO", why: "device access from user space", without: "fail", module: "vfio" },
  { option: "VFIO_PCI", why: "the exporter", without: "fail", module: "vfio-pci" },
  {
    option: "VFIO_PCI_DMABUF",
    why: "export of BARs; on by itself with VFIO_PCI, PCI_P2PDMA and DMA_SHARED_BUFFER",
    without: "fail",
    since: 6019,
  },
  {
    option: "VFIO_DEVICE_CDEV",
    why: "/dev/vfio/devices, which iommufd binds",
    without: "fail",
  },
  {
    option: "IOMMUFD",
    why: "/dev/iommu, the importer for guests",
    without: "fail",
    module: "iommufd",
  },
  { option: "INFINIBAND_USER_MEM", why: "RDMA memory regions", without: "warn" },
  {
    option: "INFINIBAND_ON_DEMAND_PAGING",
    why: "RDMA memory regions that survive a revoke",
    without: "warn",
  },
  {
    option: "UDMABUF",
    why: "rehearsals with dma-bufs of system memory",
    without: "warn",
    module: "udmabuf",
  },
];

/** Kernel options that sharing needs. */
export function checkConfig(host: Host, kernel: Kernel): Finding[] {
  const { config } = kernel;
  if (config === undefined) {
    const release = kernel.release ?? "$(uname -r)";
    return [
      {
        id: "config",
        status: "unknown",
        what: "the kernel's configuration is neither in /proc/config.gz nor in /boot nor in /lib/modules",
        fix: `install the kernel's package with /boot/config-${release}, or modprobe configs`,
      },
    ];
  }
  const findings = needs
    .filter(({ since }) => since === undefined || (kernel.version ?? since) >= since)
    .map((need) => checkNeed(host, kernel, need, config(need.option)));
  return [...findings, iommuDriver(kernel, config)];
}

function checkNeed(host: Host, kernel: Kernel, need: Need, value: string): Finding {
  const { option, why, module } = need;
  const id = `config.CONFIG_${option}`;
  const name = `CONFIG_${option}`;
  if (value === "y") return { id, status: "ok", what: `${name}=y: ${why}` };
  if (value !== "m") {
    return {
      id,
      status: need.without,
      what: `${name} is not set in ${kernel.configFrom}: ${why}`,
      fix: `boot a kernel with ${name}=y${module === undefined ? "" : " or =m"}`,
    };
  }
  const loaded = module !== undefined && isLoaded(host, module);
  if (loaded || module === undefined) {
    return { id, status: "ok", what: `${name}=m${loaded ? ", loaded" : ""}: ${why}` };
  }
  if (kernel.commandLine.includes("nomodule")) {
    return {
      id,
      status: need.without,
      what: `${name}=m, but the kernel was booted with nomodule: ${why}`,
      fix: "boot without nomodule, or with the driver built in",
    };
  }
  if (!hasModule(host, kernel, module)) {
    return {
      id,
      status: need.without,
      what: `${name}=m, but /lib/modules/${kernel.release ?? ""} has no ${module}: ${why}`,
      fix: "install the modules of the running kernel (or reboot into the installed kernel)",
    };
  }
  return {
    id,
    status: "warn",
    what: `${name}=m, not loaded: ${why}`,
    fix: `modprobe ${module}`,
  };
}

function isLoaded(host: Host, module: string): boolean {
  return host.list(`/sys/module/${module.replaceAll("-", "_")}`) !== undefined;
}

function hasModule(host: Host, { release = "" }: Kernel, module: string): boolean {
  const names = [module, module.replaceAll("-", "_")];
  return ["modules.dep", "modules.builtin"].some((file) => {
    const text = host.text(`/lib/modules/${release}/${file}`);
    return names.some((name) => text?.includes(`/${name}.ko`) === true);
  });
}

/** The IOMMU driver of the CPU; which of them is told by the machine, not here. */
function iommuDriver({ configFrom }: Kernel, config: (name: string) => string): Finding {
  const drivers = ["INTEL_IOMMU", "AMD_IOMMU", "ARM_SMMU_V3", "VIRTIO_IOMMU", "SPAPR_TCE_IOMMU"];
  const built = drivers.filter((name) => config(name) !== "n").map((name) => `CONFIG_${name}`);
  return built.length > 0
    ? { id: "config.iommu", status: "ok", what: `IOMMU drivers: ${built.join(", ")}` }
    : {
        id: "config.iommu",
        status: "fail",
        what: `no IOMMU driver in ${configFrom}: vfio needs one`,
        fix: "boot a kernel with CONFIG_INTEL_IOMMU=y, CONFIG_AMD_IOMMU=y or the one of your machine",
      };
}
