import { busAddr, type EventSink } from "@peerbar/core";
import { acsBits } from "@peerbar/p2pdma";
import { describe, expect, it } from "vitest";
import { Machine, type MachineState } from "../src/index.js";
import { tlps } from "./recorder.js";
import {
  bar,
  FAR_NIC,
  GPU,
  GPU_PORT,
  MIB,
  NIC,
  NIC_PORT,
  ROOT_PORT,
  server,
  topologyOf,
} from "./topologies.js";

const BYTES = Uint8Array.from({ length: 300 }, (_, i) => (i * 7 + 1) & 0xff);
const UPSTREAM = "0000:01:00.0";

describe("bus reset", () => {
  it("resets everything behind the bridge, nothing else, and restores decode, BARs and ACS", async () => {
    const machine = Machine.from(server({ acs: acsBits.RR | acsBits.UF }));
    const set = machine.resetSet(UPSTREAM).map(({ name }) => name);
    expect(set).toEqual([GPU_PORT, NIC_PORT, GPU, NIC]);
    const gpu = machine.function(GPU);
    const far = machine.function(FAR_NIC);
    const target = busAddr(gpu.bar(2).start);
    far.bar(0).poke(0, BYTES);
    gpu.bar(2).poke(0, BYTES);
    const before = machine.functions.map((fn) => fn.saveConfig());
    const resetting = machine.resetBus(UPSTREAM);
    expect(machine.functions.filter((fn) => fn.resetting).map(({ name }) => name)).toEqual(set);
    expect(far.engine.writeNow(target, BYTES).status).toBe("unsupported-request");
    await resetting;
    expect(machine.functions.map((fn) => fn.saveConfig())).toEqual(before);
    expect(gpu.bar(2).peek(0, 300)).toEqual(new Uint8Array(300));
    expect(far.bar(0).peek(0, 300)).toEqual(BYTES);
    expect(far.engine.writeNow(target, BYTES).status).toBe("ok");
  });

  it("is refused while one of the set is being reset, and where there is no bus", async () => {
    const machine = Machine.from(server());
    const resetting = machine.function(GPU).reset();
    await expect(machine.resetBus(GPU_PORT)).rejects.toMatchObject({ code: "EBUSY" });
    await resetting;
    await expect(machine.resetBus(GPU)).rejects.toMatchObject({ code: "ENOTTY" });
    await expect(machine.resetBus("0000:77:00.0")).rejects.toMatchObject({ code: "ENODEV" });
  });

  it("the bridge control bit resets as hardware does: nobody restores", () => {
    const machine = Machine.from(server());
    const gpu = machine.function(GPU);
    gpu.bar(2).poke(0, BYTES);
    machine.function(GPU_PORT).writeConfig(0x3e, 2, 0x40);
    expect(gpu.readConfig(0x04, 2)).toBe(0);
    expect(gpu.bar(2).peek(0, 300)).toEqual(new Uint8Array(300));
    expect(machine.function(NIC).decodesMemory).toBe(true);
  });
});

describe("hot-unplug", () => {
  it("a device that is gone reads all ones, answers nothing and sends nothing; its slot's functions go together", () => {
    const machine = Machine.from(
      topologyOf([
        {
          at: ROOT_PORT,
          type: "root-port",
          children: [
            { at: "0000:01:00.0", bars: [bar(MIB)] },
            { at: "0000:01:00.1", bars: [bar(MIB)] },
            { at: "0000:01:00.2", bars: [bar(MIB)], vfOf: "0000:01:00.0" },
          ],
        },
      ]),
    );
    machine.unplug("0000:01:00.1");
    const gone = ["0000:01:00.0", "0000:01:00.1", "0000:01:00.2"].map((at) => machine.function(at));
    expect(gone.map(({ present }) => present)).toEqual([false, false, false]);
    const [fn] = gone;
    expect(fn?.readConfig(0, 4)).toBe(0xffff_ffff);
    expect(fn?.readConfig(4, 2)).toBe(0xffff);
    expect(fn?.powerState).toBe(4);
    fn?.writeConfig(4, 2, 7);
    expect(fn?.decodesMemory).toBe(false);
    const page = machine.ram.allocate(4096);
    expect(fn?.engine.writeNow(busAddr(page), BYTES).status).toBe("unsupported-request");
    expect(() => {
      machine.unplug("0000:01:00.0");
    }).toThrow(expect.objectContaining({ code: "ENODEV" }));
  });

  it("behind a bridge everything goes, and comes back as new", async () => {
    const machine = Machine.from(server());
    const gpu = machine.function(GPU);
    const nic = machine.function(NIC);
    gpu.bar(2).poke(0, BYTES);
    machine.unplug(GPU_PORT);
    // A downstream port is one function of the switch: its device is the port alone.
    expect(gpu.present).toBe(false);
    expect(nic.present).toBe(true);
    await expect(gpu.reset()).rejects.toMatchObject({ code: "ENODEV" });
    machine.plug(GPU_PORT);
    expect(gpu.present).toBe(true);
    expect(gpu.decodesMemory).toBe(false);
    gpu.writeConfig(4, 2, 6);
    expect(nic.engine.writeNow(gpu.bar(2).busStart, BYTES).status).toBe("ok");
    expect(gpu.bar(2).peek(0, 300)).toEqual(BYTES);
    expect(() => {
      machine.plug(GPU);
    }).toThrow(expect.objectContaining({ code: "EEXIST" }));
  });
});

describe("a function that is being reset", () => {
  function resets(): { readonly told: string[]; readonly sink: EventSink } {
    const told: string[] = [];
    const emit: EventSink["emit"] = (event) => {
      if (event.type === "function-reset") told.push(event.phase);
    };
    return { told, sink: { emit } };
  }

  it.each([
    ["its own reset", (machine: Machine) => machine.function(GPU).reset()],
    ["a bus reset", (machine: Machine) => machine.resetBus(GPU_PORT)],
  ])("may be unplugged and replaced: %s does not touch the new device", async (_name, reset) => {
    const { told, sink } = resets();
    const machine = Machine.from(server(), { events: sink });
    const gpu = machine.function(GPU);
    const { start } = gpu.bar(2);
    const resetting = reset(machine);
    machine.unplug(GPU);
    expect(gpu.resetting).toBe(false);
    // The bus may be reset while nobody is there.
    machine.function(GPU_PORT).writeConfig(0x3e, 2, 0x40);
    machine.function(GPU_PORT).writeConfig(0x3e, 2, 0);
    machine.plug(GPU);
    expect([gpu.resetting, gpu.decodesMemory, gpu.bar(2).start]).toEqual([false, false, start]);
    gpu.writeConfig(4, 2, 4);
    // The new device has a reset of its own.
    await Promise.all([gpu.reset(), resetting]);
    expect([gpu.resetting, gpu.readConfig(4, 2)]).toEqual([false, 4]);
    expect(told).toEqual(["begin", "begin", "end"]);
  });

  it("stays in reset when the bus above is reset too, and is restored once", async () => {
    const { told, sink } = resets();
    const machine = Machine.from(server(), { events: sink });
    const gpu = machine.function(GPU);
    const before = gpu.saveConfig();
    const resetting = gpu.reset();
    machine.function(GPU_PORT).writeConfig(0x3e, 2, 0x40);
    machine.function(GPU_PORT).writeConfig(0x3e, 2, 0);
    expect([gpu.resetting, gpu.decodesMemory]).toEqual([true, false]);
    await expect(gpu.reset()).rejects.toMatchObject({ code: "EBUSY" });
    await resetting;
    expect([gpu.resetting, gpu.decodesMemory]).toEqual([false, true]);
    expect(gpu.saveConfig()).toEqual(before);
    expect(told).toEqual(["begin", "begin", "end", "end"]);
  });

  it("is not reset any more in a machine that was restored meanwhile", async () => {
    const machine = Machine.from(server());
    const gpu = machine.function(GPU);
    gpu.writeConfig(4, 2, 0);
    const state = machine.save();
    gpu.writeConfig(4, 2, 6);
    const resetting = gpu.reset();
    machine.restore(state);
    expect(gpu.resetting).toBe(false);
    await resetting;
    expect(gpu.readConfig(4, 2)).toBe(0);
  });
});

describe("SR-IOV", () => {
  const VF = "0000:01:00.2";
  const machine = () =>
    Machine.from(
      topologyOf([
        {
          at: ROOT_PORT,
          type: "root-port",
          children: [
            { at: "0000:01:00.0", bars: [bar(MIB)], acs: 0 },
            { at: "0000:01:00.1", bars: [bar(MIB)] },
            { at: VF, bars: [bar(MIB)], vfOf: "0000:01:00.1" },
            { at: "0000:01:00.4", bars: [bar(MIB)], vfOf: "0000:01:00.1" },
          ],
        },
      ]),
    );

  it("the physical function shows count, offset and stride", () => {
    const pf = machine().function("0000:01:00.1");
    expect(pf.readConfig(0x100, 4) & 0xffff).toBe(0x0010);
    expect(pf.readConfig(0x110, 2)).toBe(2);
    expect(pf.readConfig(0x114, 2)).toBe(1);
    expect(pf.readConfig(0x116, 2)).toBe(2);
    expect(machine().function("0000:01:00.0").readConfig(0x100, 4) & 0xffff).toBe(0x000d);
  });

  it("virtual functions answer only while the physical one enables them and their memory", async () => {
    const here = machine();
    const pf = here.function("0000:01:00.1");
    const vf = here.function(VF);
    const answers = () =>
      here.function("0000:01:00.0").engine.writeNow(vf.bar(0).busStart, BYTES).status;
    expect(answers()).toBe("ok");
    pf.writeConfig(0x108, 2, 1);
    expect(answers()).toBe("unsupported-request");
    pf.writeConfig(0x108, 2, 9);
    expect(answers()).toBe("ok");
    const resetting = pf.reset();
    expect(answers()).toBe("unsupported-request");
    await resetting;
    expect(answers()).toBe("ok");
  });
});

describe("completion redirect", () => {
  it("sends the answer to a peer read through the root complex, where a corrupting bridge gets at it; writes are not concerned", () => {
    const { events, sink } = tlps();
    const machine = Machine.from(server({ acs: acsBits.CR }), {
      events: sink,
      hostBridgeForwarding: "corrupt",
    });
    const gpu = machine.function(GPU).bar(2);
    const { engine } = machine.function(NIC);
    engine.writeNow(gpu.busStart, BYTES);
    expect(gpu.peek(0, 300)).toEqual(BYTES);
    const back = new Uint8Array(300);
    expect(engine.readNow(gpu.busStart, back).status).toBe("ok");
    expect(back).not.toEqual(BYTES);
    expect(gpu.peek(0, 300)).toEqual(BYTES);
    expect(events.map((event) => [event.kind, event.route, event.completionRedirected])).toEqual([
      ["write", "peer", false],
      ["read", "peer", true],
    ]);
  });
});

describe("save and restore", () => {
  function used(): Machine {
    const machine = Machine.from(server({ acs: 0 }));
    machine.function(NIC).engine.writeNow(machine.function(GPU).bar(2).busStart, BYTES);
    machine.function(GPU).bar(2).poke(0xff_fff0, BYTES.subarray(0, 16));
    machine.ram.poke(machine.ram.allocate(8192), BYTES);
    machine.function(NIC_PORT).writeConfig(0x106, 2, acsBits.RR);
    machine.function(FAR_NIC).writeConfig(0x44, 2, 3);
    machine.unplug(FAR_NIC);
    return machine;
  }

  it("a machine comes back from JSON as it was, and goes on the same way", () => {
    const machine = used();
    const text = JSON.stringify(machine.save());
    const { events, sink } = tlps();
    const other = Machine.from(server({ acs: 0 }), { events: sink });
    other.function(GPU).bar(0).poke(0, BYTES);
    other.restore(JSON.parse(text) as MachineState);
    expect(JSON.stringify(other.save())).toBe(text);
    for (const fn of machine.functions) {
      const twin = other.function(fn.name);
      expect(twin.memoryBars.map((one) => one.checksum())).toEqual(
        fn.memoryBars.map((one) => one.checksum()),
      );
      expect(twin.present).toBe(fn.present);
    }
    other.function(NIC).engine.writeNow(other.function(GPU).bar(2).busStart, BYTES);
    expect(events.map(({ route }) => route)).toEqual(["host-bridge"]);
    expect(other.ram.allocate(1)).toBe(machine.ram.allocate(1));
  });

  const damages: readonly (readonly [string, (state: MachineState) => unknown])[] = [
    ["no object", () => null],
    ["another kind", (state) => ({ ...state, kind: "x" })],
    ["another version", (state) => ({ ...state, version: 2 })],
    ["functions missing", (state) => ({ ...state, functions: state.functions.slice(1) })],
    [
      "functions in another order",
      (state) => ({ ...state, functions: [...state.functions].reverse() }),
    ],
    ["functions that are none", (state) => ({ ...state, functions: state.functions.map(() => 7) })],
    [
      "a short configuration space",
      (state) => ({
        ...state,
        functions: state.functions.map((fn) => ({ ...fn, config: "AAAA" })),
      }),
    ],
    [
      "bytes that are no base64",
      (state) => ({ ...state, functions: state.functions.map((fn) => ({ ...fn, config: "!" })) }),
    ],
    [
      "a BAR that is not there",
      (state) => ({
        ...state,
        functions: state.functions.map((fn) => ({ ...fn, bars: [{ index: 5, pieces: [] }] })),
      }),
    ],
    [
      "a piece past the end",
      (state) => ({
        ...state,
        functions: state.functions.map((fn) =>
          fn.address === GPU
            ? { ...fn, bars: [{ index: 0, pieces: [{ offset: 0x3fff, bytes: "AQEB" }] }] }
            : fn,
        ),
      }),
    ],
    ...[undefined, "yes"].map(
      (present) =>
        [
          `functions whose presence is ${String(present)}`,
          (state: MachineState) => ({
            ...state,
            functions: state.functions.map((fn) => ({ ...fn, present })),
          }),
        ] as const,
    ),
    ["no host memory", (state) => ({ ...state, ram: { next: "x", pieces: [] } })],
  ];
  it.each(damages)("refuses %s with EINVAL and changes nothing", (_name, damage) => {
    const machine = used();
    const before = JSON.stringify(machine.save());
    expect(() => {
      machine.restore(damage(machine.save()) as MachineState);
    }).toThrow(expect.objectContaining({ code: "EINVAL", syscall: "machine.restore" }));
    expect(JSON.stringify(machine.save())).toBe(before);
  });
});

describe("determinism", () => {
  it("the same program on the same machine leaves the same trace and the same bytes", async () => {
    const run = async () => {
      const { events, sink } = tlps();
      const machine = Machine.from(server({ acs: acsBits.RR }), {
        events: sink,
        seed: 42,
        hostBridgeForwarding: "corrupt",
        dmaChunkBytes: 64,
      });
      const gpu = machine.function(GPU);
      const target = gpu.bar(2).busStart;
      const nics = [NIC, FAR_NIC].map((at) => machine.function(at));
      const all = nics.map((nic, i) => nic.engine.write(busAddr(target + BigInt(i * 100)), BYTES));
      const resetting = gpu.reset();
      await Promise.all([...all, resetting]);
      return JSON.stringify([machine.save(), events], (_, value: unknown) =>
        typeof value === "bigint" ? String(value) : value,
      );
    };
    expect(await run()).toBe(await run());
  });
});
