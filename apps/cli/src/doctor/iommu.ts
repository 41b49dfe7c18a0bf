import type { Finding } from "./finding.js";
import type { Host } from "./host.js";
import type { Kernel } from "./kernel.js";

/** Whether an IOMMU runs and what its groups' domains do to DMA addresses. */
export function checkIommu(host: Host, kernel: Kernel): Finding[] {
  const units = host.list("/sys/class/iommu") ?? [];
  const groups = (host.list("/sys/kernel/iommu_groups") ?? []).filter((name) => /^\d+$/.test(name));
  if (units.length === 0 && groups.length === 0) return [noIommu(kernel)];
  const types = new Map<string, number>();
  for (const group of groups) {
    const type = host.text(`/sys/kernel/iommu_groups/${group}/type`)?.trim() ?? "not shown";
    types.set(type, (types.get(type) ?? 0) + 1);
  }
  const list = [...types].map(([type, count]) => `${String(count)} ${type}`).join(", ");
  const findings: Finding[] = [
    {
      id: "iommu",
      status: "ok",
      what: `IOMMU on: ${units.join(", ") || "units not shown"}; ${String(groups.length)} groups (${list})`,
    },
  ];
  const identity = types.get("identity") ?? 0;
  findings.push(
    identity > 0
      ? {
          id: "iommu.mode",
          status: "note",
          what: `${String(identity)} groups in passthrough: RDMA importers there get CPU physical addresses of the BAR, not IOVAs (dma-iova R1)`,
          fix: "iommu.passthrough=0 (or iommu=nopt) on the kernel command line, where translation is wanted",
        }
      : {
          id: "iommu.mode",
          status: "ok",
          what: "domains translate: importers through the host bridge get IOVAs",
        },
  );
  return findings;
}

function noIommu({ commandLine }: Kernel): Finding {
  const off = commandLine.find((word) =>
    /^(?:intel_iommu|amd_iommu|iommu)=(?:\w+,)*off\b/.test(word),
  );
  return {
    id: "iommu",
    status: "fail",
    what:
      off === undefined
        ? "no IOMMU is running (/sys/class/iommu is empty): vfio-pci cannot be used safely"
        : `no IOMMU is running: the kernel was booted with ${off}`,
    fix:
      off === undefined
        ? "turn VT-d, AMD-Vi or SMMU on in the firmware and boot Intel machines with intel_iommu=on; in a VM add a virtual IOMMU (-device intel-iommu,intremap=on)"
        : `boot without ${off}`,
  };
}
