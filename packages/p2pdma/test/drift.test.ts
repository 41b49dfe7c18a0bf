import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import {
  captureHash,
  driftedPairs,
  driftOf,
  factsOf,
  generateServer,
  kindOfMachine,
  type PciTopology,
  parseTopology,
  toCapture,
} from "../src/index.js";

const machine = generateServer({ name: "node1", vfs: 2 });

/** The same machine with some functions changed, or gone where `edit` gives undefined. */
function edited(
  edit: (fn: Record<string, unknown>) => Record<string, unknown> | undefined,
): PciTopology {
  const json = JSON.parse(toCapture(machine)) as { functions: Record<string, unknown>[] };
  const functions = json.functions.map((fn) => edit({ ...fn })).filter((fn) => fn !== undefined);
  return parseTopology(JSON.stringify({ ...json, functions }), { name: "node2" });
}

/** Adds to one function. */
function with_(address: string, change: Record<string, unknown>): PciTopology {
  return edited((fn) => (fn.address === address ? { ...fn, ...change } : fn));
}

const kindOf = (topology: PciTopology): { shape: string; kind: string } =>
  kindOfMachine(factsOf(topology));

describe("the hash of a capture", () => {
  it("is the SHA-256 of what follows its line, and does not know where the machine was read", () => {
    const text = toCapture(machine);
    const line = /^ {2}"hash": "(sha256:[0-9a-f]{64})",\n/m.exec(text);
    const rest = text.slice((line?.index ?? 0) + (line?.[0].length ?? 0));
    expect(line?.[1]).toBe(`sha256:${createHash("sha256").update(rest).digest("hex")}`);
    expect(captureHash(machine)).toBe(line?.[1]);
    expect(captureHash(generateServer({ name: "node2", vfs: 2 }))).toBe(captureHash(machine));
    expect(captureHash(generateServer({ vfs: 3 }))).not.toBe(captureHash(machine));
  });
});

describe("drift", () => {
  it("does not see what changes while nobody touches the machine", () => {
    const other = edited((fn) => ({
      ...fn,
      iommuGroup: fn.iommuGroup === undefined ? undefined : Number(fn.iommuGroup) + 100,
      memoryEnabled: false,
      deviceNames: ["renamed0"],
      ...(Array.isArray(fn.link) ? { link: [2.5, fn.link[1], fn.link[2], fn.link[3]] } : {}),
    }));
    expect(driftOf(machine, other)).toEqual([]);
    expect(kindOf(other)).toEqual(kindOf(machine));
    expect(captureHash(other)).not.toBe(captureHash(machine));
    expect(driftOf(machine, other, { linkSpeed: true }).map(({ name }) => name)).toContain(
      "link-speed",
    );
  });

  it("names the port, what is expected there and what was found", () => {
    const address = "0000:1a:00.0";
    const other = with_(address, { acs: { control: "0x0004", capability: "0x005f" } });
    expect(driftOf(machine, other)).toEqual([
      {
        place: "0000:18/01.0/00.0/00.0",
        address,
        name: "acs",
        expected: "0x0000",
        found: "0x0004",
        how: "differs",
        below: 0,
      },
    ]);
    expect(kindOf(other).shape).toBe(kindOf(machine).shape);
    expect(kindOf(other).kind).not.toBe(kindOf(machine).kind);
  });

  it("tells which pairs answer otherwise because of it", () => {
    const other = with_("0000:1a:00.0", { acs: { control: "0x0004", capability: "0x005f" } });
    const pairs = driftedPairs(machine, other);
    expect(
      pairs.map(({ provider, client, before, after }) =>
        [provider, client, before.mapType, after.mapType].join(" "),
      ),
    ).toContain("0000:1b:00.0 0000:1c:00.0 bus-addr thru-host-bridge");
    // Only what goes through that port: the GPU below it, with the three others of its switch, both ways.
    expect(pairs).toHaveLength(6);
    expect(driftedPairs(machine, machine)).toEqual([]);
  });

  it("a narrower link, a driver, another NUMA node, fewer VFs", () => {
    const nic = machine.functions.find((fn) => fn.deviceNames.includes("mlx5_0"));
    const link = (width: number): unknown => [
      nic?.link?.speed,
      width,
      nic?.link?.maxSpeed,
      nic?.link?.maxWidth,
    ];
    const at = nic?.address ?? "";
    const seen = (topology: PciTopology): unknown =>
      driftOf(machine, topology).map(({ address, name, expected, found, how }) => [
        address,
        name,
        expected,
        found,
        how,
      ]);
    expect(seen(with_(at, { link: link(8) }))).toEqual([[at, "link-width", "16", "8", "differs"]]);
    expect(seen(with_(at, { driver: "vfio-pci" }))).toEqual([
      [at, "driver", nic?.driver, "vfio-pci", "differs"],
    ]);
    expect(seen(with_(at, { numaNode: 1 }))).toEqual([[at, "numa-node", "0", "1", "differs"]]);
    expect(seen(edited((fn) => (fn.physfn === at ? undefined : fn)))).toContainEqual([
      at,
      "vfs",
      "2",
      "0",
      "differs",
    ]);
  });

  it("says that it cannot tell where one side does not show a thing", () => {
    const blind = with_("0000:1a:00.0", { acs: { unknown: "no privilege" } });
    expect(driftOf(machine, blind)).toEqual([
      expect.objectContaining({
        name: "acs",
        expected: "0x0000",
        found: undefined,
        how: "not-shown",
      }),
    ]);
  });

  it("parts that a listing does not print are not shown, and no other device (p2pdma R29)", () => {
    const header = "00:00.0 Host bridge: Intel Corporation";
    const nic = "01:00.0 Ethernet controller: Mellanox Technologies";
    const port = "\n00:01.0 PCI bridge: Intel Corporation Device 1235";
    const bus = "\n\tBus: primary=00, secondary=01, subordinate=01, sec-latency=0\n";
    const bar = "\n\tRegion 0: Memory at 90000000 (32-bit, non-prefetchable)";
    const driver = "\n\tKernel driver in use: mlx5_core\n";
    const full = `${header} Device 1234${port}${bus}${nic} Device 1017${bar} [size=16M]${driver}`;
    const bare = `${header} Some Root Complex${port}${bus}${nic} A Card${bar}\n`;
    const [a, b] = [parseTopology(full), parseTopology(bare)];
    const seen = (x: PciTopology, y: PciTopology): unknown =>
      driftOf(x, y).map(({ name, how, expected, found }) => [name, how, expected, found]);
    expect(seen(a, b)).toEqual([
      ["device", "not-shown", "8086:1234", "8086:????"],
      ["driver", "not-shown", "none", undefined],
      ["driver", "not-shown", "none", undefined],
      ["device", "not-shown", "15b3:1017", "15b3:????"],
      ["bars", "not-shown", "0:memory:0x1000000", "0:memory:?"],
      ["driver", "not-shown", "mlx5_core", undefined],
    ]);
    expect(driftOf(b, a).every(({ how }) => how === "not-shown")).toBe(true);
    // What both show, and is not the same, is a difference all the same.
    const other = parseTopology(bare.replace("Mellanox Technologies", "NVIDIA Corporation"));
    expect(driftOf(a, other)).toContainEqual(
      expect.objectContaining({ name: "device", how: "differs", found: "10de:????" }),
    );
  });

  it("a number of a BAR that lspci -v does not print is not shown, its kind and size are", () => {
    const nic = "01:00.0 Ethernet controller: Mellanox Technologies Device 1017\n";
    const numbered = parseTopology(
      `${nic}\tControl: Mem+\n\tRegion 2: Memory at 90000000 (32-bit, non-prefetchable) [size=16M]\n`,
    );
    const counted = (size: string): PciTopology =>
      parseTopology(
        `${nic}\tFlags: bus master\n\tMemory at 90000000 (32-bit, non-prefetchable) [size=${size}]\n`,
      );
    const seen = (machine: PciTopology): unknown =>
      driftOf(numbered, machine).filter(({ name }) => name === "bars");
    expect(seen(counted("16M"))).toEqual([expect.objectContaining({ how: "not-shown" })]);
    expect(seen(counted("32M"))).toEqual([expect.objectContaining({ how: "differs" })]);
  });

  it("virtual functions that a listing without privilege shows as functions are no other devices (p2pdma R29)", () => {
    const list = (capabilities: string): string =>
      `00:00.0 Host bridge: Intel Corporation Device 1234\n\n${[0, 2, 3]
        .map((fn) => `00:01.${fn.toString()} Ethernet controller: Intel Corporation Device 10ca`)
        .map((line, i) => `${line}\n${i === 0 ? capabilities : ""}\n`)
        .join("")}`;
    const root = parseTopology(
      list(
        "\tCapabilities: [160 v1] Single Root I/O Virtualization (SR-IOV)\n\t\tIOVCtl:\tEnable+\n\t\tInitial VFs: 2, Total VFs: 2, Number of VFs: 2, Function Dependency Link: 00\n\t\tVF offset: 2, stride: 1, Device ID: 10ca\n",
      ),
    );
    const user = parseTopology(list("\tCapabilities: <access denied>\n"));
    expect(root.functions.map(({ physfn }) => physfn)).toEqual([-1, -1, 1, 1]);
    for (const drifts of [driftOf(root, user), driftOf(user, root)]) {
      expect(drifts.map(({ name }) => name)).toContain("vfs");
      expect(drifts.filter(({ how }) => how !== "not-shown")).toEqual([]);
    }
  });

  it("a missing switch is one difference, and what was below it is counted", () => {
    const upstream = "0000:19:00.0";
    const below = new Set([upstream]);
    for (const fn of machine.functions) {
      const above = machine.functions[fn.parent]?.address;
      const physfn = machine.functions[fn.physfn]?.address;
      if (below.has(above ?? "") || below.has(physfn ?? "")) below.add(fn.address);
    }
    const other = edited((fn) => (below.has(String(fn.address)) ? undefined : fn));
    const vfs = [...below].filter((at) => (machine.get(at)?.physfn ?? -1) >= 0).length;
    const presence = (a: PciTopology, b: PciTopology): unknown =>
      driftOf(a, b)
        .filter((drift) => drift.name === "device")
        .map(({ address, how, below: count }) => [address, how, count]);
    expect(presence(machine, other)).toEqual([[upstream, "missing", below.size - 1 - vfs]]);
    expect(presence(other, machine)).toEqual([[upstream, "extra", below.size - 1 - vfs]]);
    expect(kindOf(other).shape).not.toBe(kindOf(machine).shape);
    // Bus numbers of the rest stay here; where firmware moves them, slot paths do not.
    expect(driftedPairs(machine, other)).toEqual([]);
  });

  it("another device in a slot is one difference", () => {
    const other = with_("0000:1b:00.0", { deviceId: "0x2331", acs: "none", numaNode: 1 });
    expect(driftOf(machine, other)).toEqual([
      expect.objectContaining({ name: "device", expected: "10de:2330", found: "10de:2331" }),
    ]);
  });

  it("renumbered buses are no drift", () => {
    const text = toCapture(machine);
    // Buses 0x19.. of the first root become 0x29..: as firmware numbers them when a card above took some.
    const moved = text
      .replaceAll(/"0000:(19|1[a-f]|2[0-7]):/g, (_, bus: string) => {
        return `"0000:${(Number.parseInt(bus, 16) + 0x10).toString(16)}:`;
      })
      .replaceAll(/"busNumbers":\[(\d+),(\d+),(\d+)\]/g, (_, ...buses: string[]) => {
        const shift = (text_: string): number =>
          Number(text_) > 0x18 && Number(text_) < 0x28 ? Number(text_) + 0x10 : Number(text_);
        return `"busNumbers":[${buses.slice(0, 3).map(shift).join(",")}]`;
      });
    const other = parseTopology(moved, { name: "node3" });
    expect(other.functions.map((fn) => fn.address)).not.toEqual(
      machine.functions.map((fn) => fn.address),
    );
    expect(driftOf(machine, other)).toEqual([]);
  });
});
