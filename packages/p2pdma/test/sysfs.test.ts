import { describe, expect, it } from "vitest";
import { inferCpu, MapSysfsTree, P2pdma, parseSysfs, type SysfsEntry } from "../src/index.js";
import { Config } from "./config-bytes.js";

const root = "devices/pci0000:00";
const port = `${root}/0000:00:01.0`;

/** One root port with a NIC and its VF below; all links as the kernel makes them. */
function tree(length = 4096): [string, SysfsEntry][] {
  const nic = new Config().header(0x15b3, 0x101d, 0x020000).express(0).u32(0x10, 0x9000_000c);
  const vf = new Config().header(0xffff, 0xffff, 0x020000).express(0);
  return [
    ...device(
      root,
      "0000:00:00.0",
      new Config().header(0x8086, 0x09a2, 0x088000).express(9),
      length,
    ),
    ...device(
      root,
      "0000:00:01.0",
      new Config()
        .header(0x8086, 0x352a, 0x060400, 1)
        .express(4)
        .u8(0x19, 1)
        .u8(0x1a, 1)
        .acs(0x100, 0, 0x1f, 0x1d),
      length,
    ),
    ...device(port, "0000:01:00.0", nic, length, {
      resource: "0x0000000890000000 0x0000000891ffffff 0x000000000014220c\n",
      numa_node: "1\n",
      "net/eth0/mtu": "1500\n",
      "infiniband/mlx5_0/node_guid": "0\n",
      driver: { link: "../../../../bus/pci/drivers/mlx5_core" },
      iommu_group: { link: "../../../../kernel/iommu_groups/7" },
    }),
    ...device(port, "0000:01:00.1", vf, length, {
      vendor: "0x15b3\n",
      device: "0x101e\n",
      class: "0x020000\n",
      resource: "0x0000000892000000 0x00000008920fffff 0x000000000014220c\n",
      physfn: { link: "../0000:01:00.0" },
    }),
    ["kernel/iommu_groups/7/type", "DMA-FQ\n"],
  ];
}

function device(
  parent: string,
  name: string,
  config: Config,
  length: number,
  files: Readonly<Record<string, SysfsEntry>> = {},
): [string, SysfsEntry][] {
  const path = `${parent}/${name}`;
  return [
    [`bus/pci/devices/${name}`, { link: `../../../${path}` }],
    [`${path}/config`, config.bytes.slice(0, length)],
    ...Object.entries(files).map(([file, entry]): [string, SysfsEntry] => [
      `${path}/${file}`,
      entry,
    ]),
  ];
}

/** Intel VMD: a function of domain 0 that is the host bridge of a domain of its own, with a drive behind a root port. */
function volume(length: number): [string, SysfsEntry][] {
  const vmd = new Config().header(0x8086, 0x28c0, 0x010400).express(9);
  const below = `${root}/0000:00:0e.0/pci10000:e0`;
  const numbered = new Config().header(0x8086, 0x347a, 0x060400, 1).express(4);
  const drive = new Config().header(0x144d, 0xa80a, 0x010802).express(0);
  return [
    ...device(root, "0000:00:0e.0", vmd, length),
    ...device(below, "10000:e0:06.0", numbered.u8(0x19, 0xe1).u8(0x1a, 0xe1), length),
    ...device(`${below}/10000:e0:06.0`, "10000:e1:00.0", drive, length),
  ];
}

describe("sysfs trees", () => {
  it.each([
    ["as root", 4096],
    ["as a user", 64],
  ])(
    "p2pdma section 5, %s: a root bus below a function is the one that the path names last",
    (_, length) => {
      const links = volume(length);
      const bare = links.filter(([path]) => !path.startsWith("bus/"));
      for (const entries of [links, bare]) {
        const { functions, hostBridges } = parseSysfs(new MapSysfsTree(entries));
        expect(functions.map((fn) => [fn.address, fn.parent, fn.hostBridge])).toEqual([
          ["0000:00:0e.0", -1, 0],
          ["10000:e0:06.0", -1, 1],
          ["10000:e1:00.0", 1, 1],
        ]);
        expect(hostBridges).toEqual([
          { domain: 0, bus: 0, first: 0, complete: true },
          { domain: 0x1_0000, bus: 0xe0, first: 1, complete: true },
        ]);
      }
    },
  );

  const topology = parseSysfs(new MapSysfsTree(tree()));

  it("takes the chain from real paths and the root bus from pciDDDD:BB", () => {
    expect(topology.functions.map((fn) => [fn.address, fn.parent, fn.physfn])).toEqual([
      ["0000:00:00.0", -1, -1],
      ["0000:00:01.0", -1, -1],
      ["0000:01:00.0", 1, -1],
      ["0000:01:00.1", 1, 2],
    ]);
    expect(topology.hostBridges).toEqual([{ domain: 0, bus: 0, first: 0, complete: true }]);
  });

  it("reads names, driver, NUMA node, group and its domain type", () => {
    expect(topology.at("mlx5_0")).toMatchObject({
      address: "0000:01:00.0",
      deviceNames: ["eth0", "mlx5_0"],
      driver: "mlx5_core",
      numaNode: 1,
      iommuGroup: 7,
    });
    expect(topology.iommuGroups).toEqual([{ id: 7, type: "DMA-FQ" }]);
  });

  it("p2pdma R32: bus offset is the register less the resource; a VF's register is empty, files give the rest", () => {
    const p2pdma = new P2pdma(topology);
    expect(p2pdma.busOffset("01:00.0", 0)).toBe(BigInt.asUintN(64, -0x8_0000_0000n));
    expect(topology.at("01:00.1")).toMatchObject({
      vendorId: 0x15b3,
      deviceId: 0x101e,
      portType: "endpoint",
      memoryEnabled: true,
    });
    expect(p2pdma.busOffset("01:00.1", 0)).toBe(0n);
  });

  it("decides with ACS from config space", () => {
    const p2pdma = new P2pdma(topology, { cpu: "intel" });
    expect(p2pdma.decide("01:00.0", "01:00.1").acsRedirect).toEqual(["0000:00:01.0"]);
    expect(p2pdma.decide("01:00.0", "01:00.1").mapType).toBe("thru-host-bridge");
    expect(inferCpu(topology).cpu).toBe("intel");
  });

  it("p2pdma R29: 64 bytes of config leave ACS unknown and say what would show it", () => {
    const small = parseSysfs(new MapSysfsTree(tree(64)));
    expect(small.functions.every((fn) => fn.acs.state === "unknown")).toBe(true);
    expect(small.source.missing.join()).toContain("CAP_SYS_ADMIN");
  });

  it("p2pdma R29: zeros that tar put behind 64 bytes are not read as an empty capability list", () => {
    const padded = tree(64).map(([path, entry]): [string, SysfsEntry] => {
      if (!(entry instanceof Uint8Array)) return [path, entry];
      const bytes = new Uint8Array(4096);
      bytes.set(entry);
      return [path, bytes];
    });
    const topologyOfPadded = parseSysfs(new MapSysfsTree(padded));
    expect(topologyOfPadded.at("00:01.0").acs.state).toBe("unknown");
    expect(topologyOfPadded.at("00:01.0").portType).toBeUndefined();
  });

  it("falls back to bus numbers where links became directories", () => {
    const copied = tree()
      .filter(([path]) => path.startsWith("devices/"))
      .map(([path, entry]): [string, SysfsEntry] => [
        path.replace(/^devices\/pci0000:00\/(?:0000:00:01\.0\/(?=0000))?/, "bus/pci/devices/"),
        entry,
      ]);
    const flat = parseSysfs(new MapSysfsTree(copied));
    expect(flat.functions.map((fn) => fn.parent)).toEqual([-1, -1, 1, 1]);
  });

  it("works without bus/pci/devices", () => {
    const only = tree().filter(([path]) => path.startsWith("devices/"));
    expect(parseSysfs(new MapSysfsTree(only)).functions).toEqual(topology.functions);
  });

  it("a five-digit domain is one", () => {
    const functions = parseSysfs(
      new MapSysfsTree(
        device(
          "devices/pci10000:e0",
          "10000:e0:01.0",
          new Config().header(0x8086, 1, 0x060400),
          64,
        ),
      ),
    ).functions;
    expect(functions[0]).toMatchObject({ address: "10000:e0:01.0", domain: 0x10000 });
  });

  it("parents that go in circles are cut, with a warning", () => {
    const a = "devices/pci0000:00/0000:01:00.0/0000:02:00.0";
    const b = "devices/pci0000:00/0000:02:00.0/0000:01:00.0";
    const loop = parseSysfs(
      new MapSysfsTree([
        ["bus/pci/devices/0000:02:00.0", { link: `../../../${a}` }],
        ["bus/pci/devices/0000:01:00.0", { link: `../../../${b}` }],
      ]),
    );
    expect(loop.source.warnings.join()).toContain("loop");
    expect(loop.functions.filter((fn) => fn.parent < 0)).toHaveLength(1);
  });

  it("a VF above its own PF is cut loose", () => {
    const pf = "devices/pci0000:00/0000:01:00.0/0000:02:00.0";
    const loop = parseSysfs(
      new MapSysfsTree([
        ["bus/pci/devices/0000:02:00.0", { link: `../../../${pf}` }],
        ["bus/pci/devices/0000:01:00.0", { link: "../../../devices/pci0000:00/0000:01:00.0" }],
        ["devices/pci0000:00/0000:01:00.0/physfn", { link: "0000:02:00.0" }],
      ]),
    );
    expect(loop.source.warnings.join()).toContain("loop");
    expect(new P2pdma(loop).decide("01:00.0", "02:00.0").distance).toBeGreaterThan(0);
  });

  it("links that point to themselves end", () => {
    const self = new MapSysfsTree([["bus/pci/devices", { link: "../bus/pci/devices" }]]);
    expect(self.list("bus/pci/devices")).toBeUndefined();
    expect(() => parseSysfs(self, { name: "t" })).toThrow(/no PCI devices/);
  });
});
