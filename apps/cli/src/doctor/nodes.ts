import type { Finding } from "./finding.js";
import type { Host } from "./host.js";
import type { Kernel } from "./kernel.js";

/** Device nodes and whether this user may open them. */
export function checkNodes(host: Host, kernel: Kernel): Finding[] {
  return [
    vfioDirectory(host),
    vfioDevices(host),
    iommufd(host, kernel),
    ...rehearsal(host),
    verbs(host),
  ];
}

function denied(id: string, path: string, group: string): Finding {
  return {
    id,
    status: "fail",
    what: `${path} is there, and you may not read and write it`,
    fix: `run as root, or give it to a group you are in: chgrp ${group} ${path} && chmod 0660 ${path} (a udev rule keeps it)`,
  };
}

function vfioDirectory(host: Host): Finding {
  const id = "node./dev/vfio";
  if (host.list("/dev/vfio") !== undefined) return { id, status: "ok", what: "/dev/vfio is there" };
  return {
    id,
    status: "fail",
    what: "there is no /dev/vfio: no vfio driver is running, nothing can be exported here",
    fix: "modprobe vfio-pci (the kernel options above have to allow it); in a container pass /dev/vfio in",
  };
}

function vfioDevices(host: Host): Finding {
  const id = "node./dev/vfio/devices";
  const devices = host.list("/dev/vfio/devices") ?? [];
  const first = devices[0];
  if (first === undefined) {
    return {
      id,
      status: "warn",
      what: "no device in /dev/vfio/devices: no function is bound to vfio-pci",
      fix: "bind the exporter's function: echo vfio-pci >/sys/bus/pci/devices/BDF/driver_override, then unbind it and echo BDF >/sys/bus/pci/drivers_probe",
    };
  }
  const refused = devices.find((name) => host.access(`/dev/vfio/devices/${name}`) === "denied");
  if (refused !== undefined) return denied(id, `/dev/vfio/devices/${refused}`, "vfio");
  return { id, status: "ok", what: `/dev/vfio/devices: ${devices.join(", ")}` };
}

function iommufd(host: Host, kernel: Kernel): Finding {
  const id = "node./dev/iommu";
  switch (host.access("/dev/iommu")) {
    case "ok":
      return { id, status: "ok", what: "/dev/iommu is there, readable and writable" };
    case "denied":
      return denied(id, "/dev/iommu", "vfio");
    case "absent":
      return {
        id,
        status: "fail",
        what: "there is no /dev/iommu: iommufd cannot import",
        fix:
          kernel.config?.("IOMMUFD") === "n"
            ? "boot a kernel with CONFIG_IOMMUFD (some distributions leave it out)"
            : "modprobe iommufd; in a container pass /dev/iommu in",
      };
  }
}

function rehearsal(host: Host): Finding[] {
  return ["/dev/udmabuf", "/dev/dma_heap/system"].map((path): Finding => {
    const id = `node.${path}`;
    const access = host.access(path);
    if (access === "ok") return { id, status: "ok", what: `${path} can be used for rehearsals` };
    return {
      id,
      status: "note",
      what: `${path} ${access === "absent" ? "is not there" : "is not yours to open"}: no rehearsal with system memory`,
    };
  });
}

function verbs(host: Host): Finding {
  const id = "node./dev/infiniband";
  const nodes = (host.list("/dev/infiniband") ?? []).filter((name) => name.startsWith("uverbs"));
  const refused = nodes.find((name) => host.access(`/dev/infiniband/${name}`) === "denied");
  if (refused !== undefined) return denied(id, `/dev/infiniband/${refused}`, "rdma");
  return nodes.length > 0
    ? { id, status: "ok", what: `/dev/infiniband: ${nodes.join(", ")}` }
    : { id, status: "note", what: "no /dev/infiniband/uverbs*: no RDMA importer here" };
}
