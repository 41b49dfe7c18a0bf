import { acsBits, type PciTopology, type PortType } from "@peerbar/p2pdma";
import fc from "fast-check";
import { type BarSpec, bar, type Spec, topologyOf } from "../topologies.js";

/** A tree before bus numbers are given out. */
interface Tree {
  readonly kind: "device" | "switch" | "conventional";
  /** ACS control of the device's functions, or of the port; -1: no capability. */
  readonly acs: number;
  /** Functions of a device, ports of a switch, devices of a conventional bus. */
  readonly width: number;
  readonly sizes: readonly bigint[];
  readonly below: readonly Tree[];
}

const KERNEL = acsBits.SV | acsBits.RR | acsBits.CR | acsBits.UF;
const control = fc.constantFrom(
  -1,
  0,
  KERNEL,
  acsBits.RR,
  acsBits.CR,
  acsBits.EC,
  acsBits.SV | acsBits.UF | acsBits.DT,
  acsBits.RR | acsBits.UF,
  0x7f & ~acsBits.TB,
);
const sizes = fc.array(fc.constantFrom(0x1000n, 0x4000n, 0x10_0000n, 0x4000_0000n), {
  minLength: 1,
  maxLength: 2,
});

const device: fc.Arbitrary<Tree> = fc.record({
  kind: fc.constant("device" as const),
  acs: control,
  width: fc.integer({ min: 1, max: 3 }),
  sizes,
  below: fc.constant([]),
});

const { tree } = fc.letrec<{ tree: Tree }>((tie) => ({
  tree: fc.oneof(
    { depthSize: "small", maxDepth: 3, withCrossShrink: true },
    { arbitrary: device, weight: 2 },
    {
      arbitrary: fc.record({
        kind: fc.constant("switch" as const),
        acs: control,
        width: fc.constant(0),
        sizes,
        below: fc.array(tie("tree"), { minLength: 1, maxLength: 3 }),
      }),
      weight: 2,
    },
    {
      arbitrary: fc.record({
        kind: fc.constant("conventional" as const),
        acs: fc.constant(-1),
        width: fc.integer({ min: 1, max: 2 }),
        sizes,
        below: fc.constant([]),
      }),
      weight: 1,
    },
  ),
}));

/** One to three root buses with one to three root ports each; every shape of tree, every mix of ACS. */
export const randomTopology: fc.Arbitrary<Named> = fc
  .array(fc.array(fc.tuple(control, tree), { minLength: 1, maxLength: 3 }), {
    minLength: 1,
    maxLength: 3,
  })
  .map((roots) => {
    const numbers = { next: 0 };
    return named(
      topologyOf(
        ...roots.map((ports) => {
          const root = numbers.next++;
          return ports.map(([acs, below], slot) =>
            port(
              "root-port",
              address(root, slot + 1, 0),
              acs,
              (bus) => specsOf(below, bus, numbers),
              numbers,
            ),
          );
        }),
      ),
    );
  });

/** A topology that prints itself in a few lines when a property fails. */
export interface Named {
  readonly topology: PciTopology;
  [fc.toStringMethod](): string;
}

export function named(topology: PciTopology): Named {
  const line = (fn: PciTopology["functions"][number]): string => {
    const acs = fn.acs.state === "present" ? ` acs=0x${fn.acs.control.toString(16)}` : "";
    return `${fn.address} ${String(fn.portType)}${acs}`;
  };
  return {
    topology,
    [fc.toStringMethod]: () => `\n${topology.functions.map(line).join("\n")}\n`,
  };
}

function address(bus: number, slot: number, fn: number): string {
  const two = (value: number): string => value.toString(16).padStart(2, "0");
  return `0000:${two(bus)}:${two(slot)}.${String(fn)}`;
}

function port(
  type: PortType | "none",
  at: string,
  acs: number,
  below: (bus: number) => Spec[],
  numbers: { next: number },
): Spec {
  const bus = numbers.next++;
  return { at, type, ...(acs < 0 ? {} : { acs }), children: below(bus) };
}

function specsOf(tree: Tree, bus: number, numbers: { next: number }): Spec[] {
  const bars: BarSpec[] = tree.sizes.flatMap((size) => [bar(size), undefined as never]);
  if (tree.kind === "device") {
    const acs = tree.acs < 0 ? {} : { acs: tree.acs };
    return Array.from({ length: tree.width }, (_, fn) => ({
      at: address(bus, 0, fn),
      bars,
      ...acs,
    }));
  }
  if (tree.kind === "conventional") {
    const devices = (below: number): Spec[] =>
      Array.from({ length: tree.width }, (_, slot) => ({
        at: address(below, slot, 0),
        type: "none",
        bars,
      }));
    return [port("pcie-to-pci", address(bus, 0, 0), -1, devices, numbers)];
  }
  const ports = (internal: number): Spec[] =>
    tree.below.map((one, slot) =>
      port(
        "switch-downstream",
        address(internal, slot, 0),
        tree.acs,
        (below) => specsOf(one, below, numbers),
        numbers,
      ),
    );
  return [port("switch-upstream", address(bus, 0, 0), -1, ports, numbers)];
}
