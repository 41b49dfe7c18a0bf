/**
 * The lab's machines, as data. A layout says which PCI functions stand where; a machine is a layout with an IOMMU and a processor.
 *
 * Every device has a fixed slot, so that its address is the same at each boot. Children of a port stand on the port's bus.
 */

import { LabError } from "./say.mjs";

/** @typedef {{ driver: string, at?: string, props?: Record<string, string | number>, memory?: string, under?: Device[], acs?: boolean }} Device */
/** @typedef {"none" | "off" | "passthrough" | "dma" | "dma-fq" | "virtio" | "amd"} IommuMode */
/** @typedef {{ name: string, layout: string, iommu: IommuMode, cpu: string, kernel: string[], about: string }} MachineRow */

/** RAM behind a file of the host: BAR2 is the exporter's memory, and the host sees every byte of it. */
const memory = (size, at = "0", props = {}) => ({
  driver: "ivshmem-plain",
  at,
  memory: size,
  props,
});
/** A DMA engine with a 4 KiB buffer of its own. */
const edu = (at = "0", props = {}) => ({
  driver: "edu",
  at,
  props: { dma_mask: "0xffffffffffff", ...props },
});
const port = (at, under, props = {}) => ({ driver: "pcie-root-port", at, props, under });
const openPort = (at, under) => port(at, under, { "disable-acs": "on" });
const pciSwitch = (ports) => ({
  driver: "x3130-upstream",
  at: "0",
  under: ports.map((under, index) => ({ driver: "xio3130-downstream", at: `${index}`, under })),
});
const rootComplex = (bus, node, under) => ({
  driver: "pxb-pcie",
  at: (0x10 + (bus >> 6)).toString(16),
  props: { bus_nr: bus, numa_node: node },
  under,
});
const cmb = (at = "0") => ({ driver: "nvme", at, props: { serial: "lab", cmb_size_mb: 16 } });
const two = { multifunction: "on" };

/** Two root ports with one endpoint each, a switch with exporter and engine side by side, two functions under one port. */
const switchLayout = (root) => [
  root("4", [memory("4M")]),
  root("5", [pciSwitch([[memory("1M")], [edu()]])]),
  root("6", [edu()]),
  root("7", [memory("2M", "0.0", two), edu("0.1")]),
];

/** @type {Record<string, () => Device[]>} */
export const layouts = {
  switch: () => switchLayout(port),
  "switch-no-acs": () => switchLayout(openPort),
  roots: () => [
    port("4", [memory("1M")]),
    port("5", [edu()]),
    rootComplex(0x40, 0, [
      port("0", [memory("4M")]),
      port("1", [pciSwitch([[edu()], [memory("1M")], [cmb()]])]),
    ]),
    rootComplex(0x80, 1, [
      openPort("0", [memory("2M", "0.0", two), edu("0.1")]),
      port("1", [edu()]),
    ]),
  ],
  cmb: () => [
    port("4", [memory("1M")]),
    port("5", [pciSwitch([[cmb()], [edu()], [memory("1M")]])]),
    port("6", [cmb()]),
    port("7", [edu()]),
  ],
  large: () => [
    port("4", [memory("16G")], { "pref64-reserve": "32G" }),
    openPort("5", [memory("64M", "0.0", two), edu("0.1")]),
    port("6", [edu()]),
  ],
};

const ZEN = "EPYC";
const INTEL = "Skylake-Server";

/** @returns {MachineRow} */
const row = (name, layout, iommu, cpu, about, kernel = []) => ({
  name,
  layout,
  iommu,
  cpu,
  kernel,
  about,
});

/** @type {MachineRow[]} */
export const machines = [
  row(
    "switch",
    "switch",
    "dma-fq",
    ZEN,
    "root ports with ACS and a switch, VT-d with a flush queue",
  ),
  row("switch-strict", "switch", "dma", ZEN, "the same, VT-d strict"),
  row("switch-pt", "switch", "passthrough", ZEN, "the same, IOMMU in passthrough"),
  row("switch-off", "switch", "off", ZEN, "the same, IOMMU present and switched off"),
  row("switch-none", "switch", "none", ZEN, "the same, no IOMMU at all"),
  row(
    "switch-intel",
    "switch",
    "dma-fq",
    INTEL,
    "the same, a processor and a host bridge that p2pdma does not list",
  ),
  row("switch-intel-pt", "switch", "passthrough", INTEL, "the same, in passthrough"),
  row("switch-virtio", "switch", "virtio", ZEN, "the same behind virtio-iommu"),
  row("switch-amd", "switch", "amd", ZEN, "the same behind AMD-Vi"),
  row(
    "acs-off",
    "switch",
    "dma-fq",
    ZEN,
    "ports with ACS, redirection cleared on the kernel's command line",
    ["pci=disable_acs_redir=pci:0:0"],
  ),
  row("no-acs", "switch-no-acs", "dma-fq", ZEN, "root ports without ACS"),
  row(
    "no-acs-intel",
    "switch-no-acs",
    "dma",
    INTEL,
    "root ports without ACS, host bridge not listed",
  ),
  row("roots", "roots", "dma-fq", ZEN, "three root complexes, Zen"),
  row("roots-pt", "roots", "passthrough", ZEN, "three root complexes, passthrough"),
  row("roots-intel", "roots", "dma", INTEL, "three root complexes, not listed"),
  row("cmb", "cmb", "dma-fq", ZEN, "NVMe controllers with a controller memory buffer"),
  row("large", "large", "dma-fq", ZEN, "a BAR of 16 GiB: entries split at 0xfffff000"),
  row("large-pt", "large", "passthrough", ZEN, "the same in passthrough"),
];

/** The machine of that name. @throws Error naming those that exist */
export function machineByName(name) {
  const found = machines.find((machine) => machine.name === name);
  if (found !== undefined) return found;
  const names = machines.map((machine) => machine.name).join(", ");
  throw new LabError(`no machine is called ${name}; there are ${names}`, 2);
}
