import { plural } from "../wrap.js";
import type { Finding } from "./finding.js";
import type { Host } from "./host.js";
import type { Kernel } from "./kernel.js";

const NOT_SHOWN = "not shown";

/** Whether an IOMMU runs and what its groups' domains do to DMA addresses. */
export function checkIommu(host: Host, kernel: Kernel): Finding[] {
  const units = host.list("/sys/class/iommu") ?? [];
  const groups = (host.list("/sys/kernel/iommu_groups") ?? []).filter((name) => /^\d+$/.test(name));
  if (units.length === 0 && groups.length === 0) {
    return [host.list("/sys") === undefined ? notShown : noIommu(kernel)];
  }
  const types = new Map<string, number>();
  for (const group of groups) {
    const type = host.text(`/sys/kernel/iommu_groups/${group}/type`)?.trim() ?? NOT_SHOWN;
    types.set(type, (types.get(type) ?? 0) + 1);
  }
  const list = [...types].map(([type, count]) => `${String(count)} ${type}`).join(", ");
  const findings: Finding[] = [
    {
      id: "iommu",
      status: "ok",
      what: `IOMMU on: ${units.join(", ") || "units not shown"}; ${plural(groups.length, "group")} (${list})`,
    },
  ];
  return [...findings, ...modes(types)];
}

/** Domain types whose mappings are I/O virtual addresses (dma-iova, section 1). */
const translating = new Set(["DMA", "DMA-FQ"]);

/** What the domains do to DMA addresses: a finding for each kind of domain that is there. */
function modes(types: ReadonlyMap<string, number>): Finding[] {
  const findings: Finding[] = [];
  const identity = types.get("identity") ?? 0;
  const untold = types.get(NOT_SHOWN) ?? 0;
  const owned = [...types].filter(
    ([type]) => !translating.has(type) && type !== "identity" && type !== NOT_SHOWN,
  );
  if (identity > 0) {
    findings.push({
      id: "iommu.mode",
      status: "note",
      what: `${plural(identity, "group")} in passthrough: RDMA importers there get CPU physical addresses of the BAR, not IOVAs (dma-iova R2)`,
      fix: "iommu.passthrough=0 (or iommu=nopt) on the kernel command line, where translation is wanted",
    });
  }
  if (owned.length > 0) {
    const list = owned.map(([type, count]) => `${String(count)} of type ${type}`).join(", ");
    findings.push({
      id: "iommu.owned",
      status: "note",
      what: `groups that a driver or user space owns, or that are shut: ${list}: who owns the domain decides about addresses there`,
    });
  }
  if (untold > 0) {
    findings.push({
      id: "iommu.mode",
      status: "unknown",
      what: `whether the domains of ${plural(untold, "group")} translate is not shown`,
      fix: "look at /sys/kernel/iommu_groups/*/type as root; kernels before 5.11 have no such file",
    });
  }
  if (findings.length === 0 && types.size > 0) {
    findings.push({
      id: "iommu.mode",
      status: "ok",
      what: "domains translate: importers through the host bridge get IOVAs",
    });
  }
  return findings;
}

const notShown: Finding = {
  id: "iommu",
  status: "unknown",
  what: "there is no /sys here: whether an IOMMU is running is not shown",
  fix: "mount sysfs, or give --root the directory that holds sys, proc and dev",
};

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
