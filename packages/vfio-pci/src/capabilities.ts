import type { PciFunction } from "@peerbar/core";
import {
  type CapabilityPlace,
  findCapability,
  findExtendedCapability,
  pciRegs as reg,
} from "@peerbar/p2pdma";

/** Where the capabilities that vfio-pci acts on begin; undefined where absent. */
export interface Capabilities {
  readonly pm: number | undefined;
  readonly express: number | undefined;
  readonly af: number | undefined;
  readonly sriov: number | undefined;
}

export function findCapabilities(fn: PciFunction): Capabilities {
  const config = { read: (at: number, size: 1 | 2 | 4) => fn.readConfig(at, size) >>> 0 };
  const standard = (id: number) => presentAt(findCapability(config, id));
  const express = standard(reg.PCI_CAP_ID_EXP);
  return {
    pm: standard(reg.PCI_CAP_ID_PM),
    express,
    af: standard(reg.PCI_CAP_ID_AF),
    sriov:
      express === undefined
        ? undefined
        : presentAt(findExtendedCapability(config, reg.PCI_EXT_CAP_ID_SRIOV)),
  };
}

function presentAt(place: CapabilityPlace): number | undefined {
  return typeof place === "number" ? place : undefined;
}

/** Virtual functions enabled on this physical function now (`pci_num_vf`). */
export function activeVfs(fn: PciFunction, { sriov }: Capabilities): number {
  if (sriov === undefined) return 0;
  const enabled = (fn.readConfig(sriov + reg.PCI_SRIOV_CTRL, 2) & reg.PCI_SRIOV_CTRL_VFE) !== 0;
  return enabled ? fn.readConfig(sriov + reg.PCI_SRIOV_NUM_VF, 2) : 0;
}
