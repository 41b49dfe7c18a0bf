import { busAddr, DmaBufError, physAddr } from "@peerbar/core";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Machine, type SimFunction } from "../../src/index.js";
import { randomTopology } from "./random-tree.js";

type Step =
  | {
      readonly op: "config";
      readonly fn: number;
      readonly offset: number;
      readonly size: 1 | 2 | 4;
      readonly value: number;
    }
  | {
      readonly op: "dma";
      readonly fn: number;
      readonly near: number;
      readonly delta: bigint;
      readonly length: number;
      readonly write: boolean;
      readonly translated: boolean;
    }
  | { readonly op: "cpu"; readonly near: number; readonly delta: bigint }
  | { readonly op: "unplug" | "plug"; readonly fn: number };

const fn = fc.nat(50);
const delta = fc.oneof(
  fc.bigInt({ min: -9000n, max: 9000n }),
  fc.bigInt({ min: -(1n << 64n), max: 1n << 64n }),
);
const registers = fc.oneof(
  fc.constantFrom(
    0x04,
    0x10,
    0x14,
    0x18,
    0x1c,
    0x20,
    0x24,
    0x28,
    0x3e,
    0x44,
    0x58,
    0x104,
    0x106,
    0x108,
  ),
  fc.integer({ min: 0, max: 4095 }),
);

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    op: fc.constant("config" as const),
    fn,
    offset: registers,
    size: fc.constantFrom(1 as const, 2 as const, 4 as const),
    value: fc.oneof(fc.constantFrom(0, 2, 4, 6, 0x8000, 0xffff_ffff), fc.nat(0xffff_ffff)),
  }),
  fc.record({
    op: fc.constant("dma" as const),
    fn,
    near: fc.nat(50),
    delta,
    length: fc.nat(20_000),
    write: fc.boolean(),
    translated: fc.boolean(),
  }),
  fc.record({ op: fc.constant("cpu" as const), near: fc.nat(50), delta }),
  fc.record({ op: fc.constantFrom("unplug" as const, "plug" as const), fn }),
);

const pickOf = <T>(list: readonly T[], n: number): T | undefined => list[n % list.length];

function apply(machine: Machine, one: Step): void {
  const bars = machine.functions.flatMap((each) => each.memoryBars);
  const at = (near: number, offset: bigint): bigint =>
    (pickOf(bars, near)?.busStart ?? 0n) + offset;
  if (one.op === "cpu") {
    machine.cpu.write(physAddr(at(one.near, one.delta)), Uint8Array.of(1, 2, 3));
    return;
  }
  const target: SimFunction | undefined = pickOf(machine.functions, one.fn);
  if (target === undefined) return;
  if (one.op === "config") target.writeConfig(one.offset, one.size, one.value);
  else if (one.op === "dma") {
    const bytes = new Uint8Array(one.length).fill(1);
    const address = busAddr(at(one.near, one.delta));
    const options = { translated: one.translated };
    const done = one.write
      ? target.engine.writeNow(address, bytes, options)
      : target.engine.readNow(address, bytes, options);
    expect(done.transferred).toBeLessThanOrEqual(one.length);
    if (done.status === "ok") expect(done.transferred).toBe(one.length);
    else expect(done.at).toBe(address + BigInt(done.transferred));
  } else machine[one.op](target.name);
}

describe("whatever software writes into registers and whatever devices put on the wires", () => {
  it("the machine neither crashes nor hangs, and writes count exactly what they changed", () => {
    fc.assert(
      fc.property(randomTopology, fc.array(step, { maxLength: 40 }), ({ topology }, steps) => {
        const machine = Machine.from(topology, { hostBridgeForwarding: "forward" });
        for (const one of steps) {
          try {
            apply(machine, one);
          } catch (error) {
            if (!(error instanceof DmaBufError)) throw error;
          }
        }
        const text = JSON.stringify(machine.save());
        const twin = Machine.from(topology);
        twin.restore(machine.save());
        expect(JSON.stringify(twin.save())).toBe(text);
      }),
      { numRuns: 200 },
    );
  }, 60_000);
});
