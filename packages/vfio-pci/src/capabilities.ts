import type { PciFunction } from "@peerbar/core";

const STATUS = 0x06;
const STATUS_CAP_LIST = 0x10;
const CAP_POINTER = 0x34;
const PM = 0x01;
const EXPRESS = 0x10;
const AF = 0x13;
const SRIOV = 0x0010;
/** Bounds of the walks over broken or looping lists (p2pdma R31). */
const CAP_LIMIT = 48;
const EXT_CAP_LIMIT = 480;

/** Where the capabilities that vfio-pci acts on begin; undefined where absent. */
export interface Capabilities {
  readonly pm: number | undefined;
  readonly express: number | undefined;
  readonly af: number | undefined;
  readonly sriov: number | undefined;
}

export function findCapabilities(fn: PciFunction): Capabilities {
  const found = new Map<number, number>();
  if ((fn.readConfig(STATUS, 2) & STATUS_CAP_LIST) !== 0) {
    let at = fn.readConfig(CAP_POINTER, 1) & 0xfc;
    for (let left = CAP_LIMIT; left > 0 && at >= 0x40; left--) {
      const id = fn.readConfig(at, 1);
      if (id === 0xff) break;
      if (!found.has(id)) found.set(id, at);
      at = fn.readConfig(at + 1, 1) & 0xfc;
    }
  }
  const express = found.get(EXPRESS);
  return {
    pm: found.get(PM),
    express,
    af: found.get(AF),
    sriov: express === undefined ? undefined : findExtended(fn, SRIOV),
  };
}

function findExtended(fn: PciFunction, id: number): number | undefined {
  let at = 0x100;
  for (let left = EXT_CAP_LIMIT; left > 0 && at >= 0x100; left--) {
    const header = fn.readConfig(at, 4) >>> 0;
    if (header === 0 || header === 0xffff_ffff) return undefined;
    if ((header & 0xffff) === id) return at;
    at = (header >>> 20) & 0xffc;
  }
  return undefined;
}

/** Virtual functions enabled on this physical function now (`pci_num_vf`). */
export function activeVfs(fn: PciFunction, { sriov }: Capabilities): number {
  if (sriov === undefined) return 0;
  const enabled = (fn.readConfig(sriov + 0x08, 2) & 1) !== 0;
  return enabled ? fn.readConfig(sriov + 0x10, 2) : 0;
}
