import { formatId } from "@peerbar/p2pdma";
import type { NodeDevice, NodeFacts } from "./node.js";

/** Entries that one ResourceSlice may have. */
const MAX_DEVICES = 128;
/** Characters that a string attribute may have. */
const MAX_TEXT = 64;

export interface DraOptions {
  /** Node whose devices these are: `spec.nodeName` and the pool's name. */
  readonly node: string;
  /** DNS name that own attributes carry, and the driver's name. */
  readonly domain: string;
}

type Attribute =
  | { readonly string: string }
  | { readonly int: number }
  | { readonly bool: boolean };

/**
 * ResourceSlices of `resource.k8s.io/v1`, as a List that kubectl takes. Devices carry the standard attributes `pciBusID`, `pcieRoot` and
 * `numaNode` (left out where there is none), by which `matchAttribute` works across drivers, and own ones for the switch and the
 * switch-local domain.
 */
export function draSlices(facts: NodeFacts, { node, domain }: DraOptions): string {
  const devices = facts.devices.map((device) => draDevice(device, domain));
  const count = Math.max(1, Math.ceil(devices.length / MAX_DEVICES));
  const items = Array.from({ length: count }, (_, index) => ({
    apiVersion: "resource.k8s.io/v1",
    kind: "ResourceSlice",
    metadata: { name: `${node}-${domain}-${String(index)}` },
    spec: {
      driver: domain,
      nodeName: node,
      pool: { name: node, generation: 1, resourceSliceCount: count },
      devices: devices.slice(index * MAX_DEVICES, (index + 1) * MAX_DEVICES),
    },
  }));
  return `${JSON.stringify({ apiVersion: "v1", kind: "List", items }, null, 2)}\n`;
}

function draDevice(device: NodeDevice, domain: string): Record<string, unknown> {
  const { fn, kind, root, switchPort } = device;
  const own: Record<string, Attribute | undefined> = {
    class: { string: kind },
    vendor: text(fn.vendorId === undefined ? undefined : formatId(fn.vendorId)),
    device: text(fn.deviceId === undefined ? undefined : formatId(fn.deviceId)),
    productName: text(fn.name),
    switch: text(switchPort),
    p2pDomain: text(device.domain),
  };
  const attributes: Record<string, Attribute> = {
    "resource.kubernetes.io/pciBusID": { string: fn.address },
    "resource.kubernetes.io/pcieRoot": { string: root },
  };
  if (fn.numaNode !== undefined && fn.numaNode >= 0) {
    attributes["resource.kubernetes.io/numaNode"] = { int: fn.numaNode };
  }
  for (const [name, value] of Object.entries(own)) {
    if (value !== undefined) attributes[`${domain}/${name}`] = value;
  }
  const capacity: Record<string, { readonly value: string }> = {};
  for (const bar of fn.bars) {
    if (bar?.kind !== "memory" || bar.length === undefined) continue;
    capacity[`${domain}/bar${String(bar.index)}`] = { value: bar.length.toString() };
  }
  return {
    // A DNS label: no colons, no dots.
    name: `${kind}-${fn.address.replaceAll(/[:.]/g, "-")}`,
    attributes,
    ...(Object.keys(capacity).length === 0 ? {} : { capacity }),
  };
}

function text(value: string | undefined): Attribute | undefined {
  return value === undefined ? undefined : { string: value.slice(0, MAX_TEXT) };
}
