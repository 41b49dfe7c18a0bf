import { formatBus, formatPciAddress, parsePciAddress } from "./address.js";
import { assemble, type KnownRoot } from "./assemble.js";
import { decodeConfigSpace } from "./config-space.js";
import { ParseError } from "./parse-error.js";
import type { PciTopology } from "./pci-topology.js";
import { emptyRecord, type FunctionRecord } from "./record.js";
import { barsFromResource } from "./sysfs-resource.js";
import { joinPath, type SysfsTree } from "./sysfs-tree.js";
import type { IommuGroupInfo, MachineInfo } from "./topology.js";

/** Names for the machine whose `/sys` is parsed. */
export interface SysfsOptions {
  /** Name of the tree, for messages: `/sys`, or the archive's name. */
  readonly name?: string;
  /** What is known of the machine besides sysfs. */
  readonly machine?: MachineInfo | undefined;
}

const EXPECTED =
  "a captured /sys needs bus/pci/devices and devices/pci*, links kept: tar czf sys.tar.gz -C / sys/bus/pci/devices sys/devices/pci*";

/**
 * Reads a topology from a /sys tree (p2pdma, section 5). The upstream chain is the real path of each device; where links were lost,
 * bus numbers from config space take their place.
 *
 * @throws ParseError `EINVAL` when the tree has no PCI devices
 */
export function parseSysfs(tree: SysfsTree, options: SysfsOptions = {}): PciTopology {
  const name = options.name ?? "/sys";
  const devices = findDevices(tree);
  if (devices.size === 0) {
    throw new ParseError(name, 1, "no PCI devices in this tree", { hint: EXPECTED });
  }
  const reader = new DeviceReader(tree);
  const records = [...devices].map(([name, path]) => reader.read(name, path));
  const unseen = records.filter((record) => record.acs.state === "unknown").length;
  const roots = [...devices.values()].flatMap((path) => rootOf(path) ?? []);
  return assemble(records, {
    source: {
      format: "sysfs",
      name,
      missing:
        unseen > 0
          ? [
              `ACS of ${unseen.toString()} of ${records.length.toString()} functions: their config space is readable to 64 bytes only; run as root (CAP_SYS_ADMIN)`,
            ]
          : [],
    },
    machine: withIommu(tree, options.machine),
    roots: uniqueRoots(roots),
    iommuGroups: readGroups(tree),
  });
}

/** Device paths by address: real paths where links are kept (bus/pci/devices), else found by walking devices/pci*. */
function findDevices(tree: SysfsTree): Map<string, string> {
  const found = new Map<string, string>();
  for (const name of tree.list("bus/pci/devices") ?? []) {
    if (!isDeviceName(name)) continue;
    const link = tree.readlink(`bus/pci/devices/${name}`);
    const path = joinPath("bus/pci/devices", link ?? name);
    // A link that leads elsewhere is damage: then the name is all that is known of the place.
    found.set(name, path.endsWith(`/${name}`) ? path : `bus/pci/devices/${name}`);
  }
  for (const name of tree.list("devices") ?? []) {
    if (rootName.test(name)) walkDevices(tree, `devices/${name}`, found, 0);
  }
  return found;
}

/** Names as the kernel writes them: full and lower-case. */
function isDeviceName(name: string): boolean {
  const address = parsePciAddress(name);
  return address !== undefined && formatPciAddress(address) === name;
}

/** PCI buses nest at most 256 deep; a tree that claims more has a loop. */
const MAX_DEPTH = 256;

function walkDevices(
  tree: SysfsTree,
  path: string,
  found: Map<string, string>,
  depth: number,
): void {
  if (depth > MAX_DEPTH) return;
  for (const name of tree.list(path) ?? []) {
    const child = `${path}/${name}`;
    if (rootName.test(name)) walkDevices(tree, child, found, depth + 1);
    if (!isDeviceName(name)) continue;
    // A link to another device (virtfn, physfn) is not a place in the tree.
    if (tree.readlink(child) !== undefined) continue;
    const known = found.get(name);
    if (known === undefined || !known.startsWith("devices/")) found.set(name, child);
    walkDevices(tree, child, found, depth + 1);
  }
}

const rootName = /^pci([0-9a-f]{4,8}):([0-9a-f]{2})$/;

/**
 * `devices/pci0000:80/...`: the root bus that the path names. A host bridge may be a PCI function itself (Intel VMD: `pci0000:00/0000:00:0e.0/
 * pci10000:e0/...`): the last one is the function's own.
 */
function rootOf(path: string): KnownRoot | undefined {
  const above = path.split("/").slice(0, -1);
  const match = rootName.exec(above.findLast((part) => rootName.test(part)) ?? "");
  if (match === null) return undefined;
  return {
    domain: Number.parseInt(match[1] ?? "", 16),
    bus: Number.parseInt(match[2] ?? "", 16),
    complete: true,
  };
}

function uniqueRoots(roots: readonly KnownRoot[]): KnownRoot[] {
  return [...new Map(roots.map((root) => [formatBus(root.domain, root.bus), root])).values()];
}

/** The folder of groups is there in every kernel with IOMMU support, and empty where no IOMMU is on. */
function withIommu(tree: SysfsTree, machine: MachineInfo | undefined): MachineInfo | undefined {
  const groups = tree.list("kernel/iommu_groups");
  if (groups === undefined) return machine;
  const info = machine ?? { cpu: "unknown" as const, cpuEvidence: undefined };
  return { ...info, iommu: groups.length > 0 };
}

function readGroups(tree: SysfsTree): IommuGroupInfo[] {
  const groups: IommuGroupInfo[] = [];
  for (const name of tree.list("kernel/iommu_groups") ?? []) {
    if (!/^\d+$/.test(name)) continue;
    groups.push({ id: Number(name), type: textOf(tree, `kernel/iommu_groups/${name}/type`) });
  }
  return groups.sort((a, b) => a.id - b.id);
}

function textOf(tree: SysfsTree, path: string): string | undefined {
  const bytes = tree.read(path);
  if (bytes === undefined) return undefined;
  // tar pads files of sysfs with zeros to the size that the kernel claims.
  const end = bytes.indexOf(0);
  const text = String.fromCharCode(...bytes.subarray(0, end < 0 ? 8192 : Math.min(end, 8192)));
  return text.trim() === "" ? undefined : text.trim();
}

/**
 * Config space as far as it was really read. An archive of /sys made by an ordinary user has 64 bytes and then zeros to 4096: a
 * capability list that begins in zeros was not read (p2pdma R29).
 */
function readableConfig(bytes: Uint8Array | undefined): Uint8Array | undefined {
  if (bytes === undefined || bytes.length <= 64) return bytes;
  const hasList = ((bytes[6] ?? 0) & 0x10) !== 0;
  return hasList && bytes.subarray(64).every((byte) => byte === 0) ? bytes.subarray(0, 64) : bytes;
}

function numberOf(text: string | undefined): number | undefined {
  if (text === undefined || !/^(?:0x[0-9a-f]{1,8}|\d{1,9})$/i.test(text)) return undefined;
  return Number(text);
}

/** Directories whose entries are kernel names of a device: `net/eth0`, `infiniband/mlx5_0`. */
const classDirectories = ["net", "infiniband", "nvme", "drm", "accel", "dma", "ptp"];

class DeviceReader {
  readonly #tree: SysfsTree;

  constructor(tree: SysfsTree) {
    this.#tree = tree;
  }

  read(name: string, path: string): FunctionRecord {
    const parts = path.split("/");
    const address = parsePciAddress(name) ?? { domain: 0, bus: 0, slot: 0, fn: 0 };
    const record = emptyRecord(address);
    const text = (file: string): string | undefined => textOf(this.#tree, `${path}/${file}`);
    this.#readConfig(record, path);
    record.vendorId = numberOf(text("vendor")) ?? record.vendorId;
    record.deviceId = numberOf(text("device")) ?? record.deviceId;
    record.classCode = numberOf(text("class")) ?? record.classCode;
    record.numaNode = numberOf(text("numa_node"));
    record.driver = this.#linkName(`${path}/driver`);
    record.iommuGroup = numberOf(this.#linkName(`${path}/iommu_group`));
    record.physfnAddress = this.#linkName(`${path}/physfn`);
    this.#readLink(record, text);
    this.#readPlace(record, path, parts);
    record.deviceNames = this.#deviceNames(path);
    return record;
  }

  #linkName(path: string): string | undefined {
    return this.#tree
      .readlink(path)
      ?.split("/")
      .filter((part) => part !== "")
      .at(-1);
  }

  #readPlace(record: FunctionRecord, path: string, parts: readonly string[]): void {
    const root = rootOf(path);
    if (root === undefined) return;
    record.rootBus = { domain: root.domain, bus: root.bus };
    const above = parts.at(-2) ?? "";
    record.parentAddress = parsePciAddress(above) === undefined ? null : above;
  }

  #readConfig(record: FunctionRecord, path: string): void {
    const bytes = readableConfig(this.#tree.read(`${path}/config`));
    const config =
      bytes === undefined ? undefined : decodeConfigSpace(bytes, { only256: bytes.length === 256 });
    const resource = textOf(this.#tree, `${path}/resource`);
    if (config !== undefined) {
      record.vendorId = config.vendorId;
      record.deviceId = config.deviceId;
      record.classCode = config.classCode;
      record.headerType = config.headerType;
      record.multiFunction = config.multiFunction;
      record.memoryEnabled = config.memoryEnabled;
      record.busNumbers = config.busNumbers;
      record.portType = config.portType;
      record.acs = config.acs;
      record.link = config.link;
      record.windows = [...config.windows];
    } else if (bytes !== undefined && bytes.length > 0) {
      record.acs = { state: "unknown", why: "its config space cannot be read (all ones)" };
    }
    record.barsShown = resource !== undefined;
    record.bars =
      resource === undefined
        ? (config?.bars ?? []).map((bar) =>
            bar === undefined ? undefined : { ...bar, start: bar.busStart, length: undefined },
          )
        : barsFromResource(resource, config?.bars ?? []);
    if (record.headerType === undefined && record.acs.state === "unknown") {
      record.headerType =
        bytes === undefined ? headerTypeFromClass(textOf(this.#tree, `${path}/class`)) : undefined;
    }
  }

  /** Link files are readable by all, where the registers are not. */
  #readLink(record: FunctionRecord, text: (file: string) => string | undefined): void {
    const speed = (file: string): number | undefined => {
      const match = /^([\d.]+) GT\/s/.exec(text(file) ?? "");
      return match === null ? undefined : Number(match[1]);
    };
    const width = (file: string): number | undefined => {
      const value = numberOf(text(file));
      return value === undefined || value === 0 || value > 64 ? undefined : value;
    };
    const link = {
      speed: speed("current_link_speed"),
      width: width("current_link_width"),
      maxSpeed: speed("max_link_speed"),
      maxWidth: width("max_link_width"),
    };
    if (Object.values(link).some((value) => value !== undefined)) record.link = link;
  }

  #deviceNames(path: string): string[] {
    const names: string[] = [];
    for (const directory of classDirectories) {
      for (const name of this.#tree.list(`${path}/${directory}`) ?? []) {
        // `nvme/nvme0` is a device, `drm/version` is not.
        if (/^[a-z]+[a-z0-9_-]*\d/i.test(name)) names.push(name);
      }
    }
    return [...new Set(names)].sort();
  }
}

function headerTypeFromClass(text: string | undefined): FunctionRecord["headerType"] {
  const value = numberOf(text);
  if (value === undefined) return undefined;
  return value >>> 8 === 0x0604 ? 1 : value >>> 8 === 0x0607 ? 2 : 0;
}
