import fc from "fast-check";
import type { PciTopology } from "../src/index.js";
import { type Fn, host, machine } from "./machine.js";

/** Shape of a generated machine: numbers only, so that a failing case prints short and can be edited. */
export interface Plan {
  readonly domains: readonly (readonly RootPlan[])[];
}

interface RootPlan {
  readonly id: string;
  /** The root bus begins with 00.0; else with a root port. */
  readonly withZero: boolean;
  readonly ports: readonly BridgePlan[];
}

interface BridgePlan {
  readonly acs: Acs;
  readonly children: readonly BridgePlan[];
  readonly endpoints: readonly EndpointPlan[];
}

interface EndpointPlan {
  readonly acs: Acs;
  /** Functions of the device. */
  readonly functions: number;
  readonly vfs: number;
}

type Acs = number | "none" | "unknown";

/** All seven bits, none, and (where asked) unknown. */
function acs(unknown: boolean): fc.Arbitrary<Acs> {
  const known: fc.Arbitrary<Acs> = fc.oneof(
    { weight: 3, arbitrary: fc.constant<Acs>("none") },
    { weight: 2, arbitrary: fc.constant<Acs>(0) },
    { weight: 3, arbitrary: fc.integer({ min: 0, max: 0x7f }) },
  );
  return unknown ? fc.oneof({ weight: 4, arbitrary: known }, fc.constant<Acs>("unknown")) : known;
}

const hostIds = [
  "8086:3c00",
  "8086:2f01",
  "8086:2030",
  "8086:09a2",
  "8086:1234",
  "1ae0:0001",
  "1022:1480",
];

/** Machines of one to two domains, one to three roots each, switches up to two deep, multi-function devices and VFs. */
export function plans(options: { readonly unknown: boolean }): fc.Arbitrary<Plan> {
  const endpoint = fc.record({
    acs: acs(options.unknown),
    functions: fc.integer({ min: 1, max: 3 }),
    vfs: fc.integer({ min: 0, max: 2 }),
  });
  const bridge = (depth: number): fc.Arbitrary<BridgePlan> =>
    fc.record({
      acs: acs(options.unknown),
      children: depth === 0 ? fc.constant([]) : fc.array(bridge(depth - 1), { maxLength: 2 }),
      endpoints: fc.array(endpoint, { maxLength: 2 }),
    });
  const root = fc.record({
    id: fc.constantFrom(...hostIds),
    withZero: fc.boolean(),
    ports: fc.array(bridge(4), { minLength: 1, maxLength: 3 }),
  });
  const domain = fc.array(root, { minLength: 1, maxLength: 3 });
  return fc.record({ domains: fc.array(domain, { minLength: 1, maxLength: 2 }) });
}

const hex2 = (n: number): string => n.toString(16).padStart(2, "0");

/** The machine of a plan. Branches that need more than 256 buses in a domain are left out. */
export function build(plan: Plan): PciTopology {
  const functions: Fn[] = [];
  for (const [domain, roots] of plan.domains.entries()) {
    let nextBus = 0;
    for (const root of roots) {
      const bus = nextBus;
      const at = (b: number, slot: number, fn = 0): string =>
        `${domain.toString(16).padStart(4, "0")}:${hex2(b)}:${hex2(slot)}.${fn.toString()}`;
      if (bus > 0xff) break;
      if (root.withZero) functions.push(host(at(bus, 0), root.id));
      const bridge = (b: BridgePlan, on: number, slot: number, depth: number): void => {
        nextBus += 1;
        const own = nextBus;
        if (own > 0xff) return;
        const place = functions.length;
        const type =
          depth === 0 ? "root-port" : depth % 2 === 1 ? "switch-upstream" : "switch-downstream";
        for (const [i, child] of b.children.entries()) bridge(child, own, i, depth + 1);
        for (const [i, device] of b.endpoints.entries()) {
          const slotOf = 16 + i;
          for (let fn = 0; fn < device.functions; fn += 1) {
            functions.push({ at: at(own, slotOf, fn), acs: device.acs });
          }
          for (let vf = 0; vf < device.vfs; vf += 1) {
            functions.push({ at: at(own, slotOf, 4 + vf), physfn: at(own, slotOf), acs: "none" });
          }
        }
        functions.splice(place, 0, {
          at: at(on, slot),
          id: depth === 0 && !root.withZero ? root.id : "1000:c030",
          type,
          acs: b.acs,
          buses: `${hex2(own)}-${hex2(Math.min(nextBus, 0xff))}`,
        });
      };
      for (const [i, port] of root.ports.entries()) bridge(port, bus, i + 1, 0);
      nextBus += 1;
    }
  }
  return machine(functions);
}
