import { busAddr, physAddr } from "@peerbar/core";
import { acsBits } from "@peerbar/p2pdma";
import { describe, expect, it } from "vitest";
import { Machine, type MachineOptions } from "../src/index.js";
import { tlps } from "./recorder.js";
import { IommuStub } from "./stub-iommu.js";
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

const HELLO = new TextEncoder().encode("hello, peer");

function build(spec: Parameters<typeof server>[0], options: MachineOptions = {}) {
  const { events, sink } = tlps();
  const machine = Machine.from(server(spec), { ...options, events: sink });
  const gpu = machine.function(GPU);
  return { machine, gpu, nic: machine.function(NIC), far: machine.function(FAR_NIC), events };
}

describe("below one switch", () => {
  it("without ACS a request crosses the switch and lands exactly", async () => {
    const { machine, gpu, nic, events } = build({});
    const memory = gpu.bar(2);
    const done = await nic.engine.write(busAddr(memory.busStart + 0x1ffan), HELLO);
    expect(done).toEqual({ status: "ok", transferred: HELLO.length, at: undefined });
    expect(memory.peek(0x1ffa, HELLO.length)).toEqual(HELLO);
    expect(memory.peek(0x1ff9, 1)[0]).toBe(0);
    expect(memory.peek(0x1ffa + HELLO.length, 1)[0]).toBe(0);
    expect(machine.dirty()).toEqual([{ where: `${GPU} BAR 2`, pages: [1, 2] }]);
    expect(events.map((event) => event.route)).toEqual(["peer"]);
    expect(events[0]?.path).toEqual([NIC_PORT, GPU_PORT]);
  });

  it("request redirect at the port that the request enters sends it through the root complex", () => {
    const { gpu, nic, events } = build({ acs: acsBits.RR });
    expect(nic.engine.writeNow(gpu.bar(2).busStart, HELLO).status).toBe("ok");
    expect(events.map((event) => event.route)).toEqual(["host-bridge"]);
    const up = [NIC_PORT, "0000:01:00.0", ROOT_PORT];
    const down = [ROOT_PORT, "0000:01:00.0", GPU_PORT];
    expect(events[0]?.path).toEqual([...up, "pci0000:00", ...down]);
    expect(gpu.bar(2).peek(0, HELLO.length)).toEqual(HELLO);
  });

  it("redirect at the target's port alone does not touch requests, only completions", () => {
    const { machine, gpu, nic, events } = build({ acs: 0 });
    machine.function(GPU_PORT).writeConfig(0x106, 2, acsBits.RR);
    nic.engine.writeNow(gpu.bar(2).busStart, HELLO);
    machine.function(NIC_PORT).writeConfig(0x106, 2, acsBits.RR);
    nic.engine.writeNow(gpu.bar(2).busStart, HELLO);
    expect(events.map((event) => event.route)).toEqual(["peer", "host-bridge"]);
  });

  it("a redirected request is translated by the IOMMU, and faults where nothing is mapped", () => {
    const iommu = new IommuStub();
    const { gpu, nic, machine } = build({ acs: acsBits.RR }, { iommu });
    const memory = gpu.bar(2);
    const bad = nic.engine.writeNow(memory.busStart, HELLO);
    expect(bad).toEqual({ status: "iommu-fault", transferred: 0, at: memory.busStart });
    expect(iommu.faults).toEqual([
      { device: NIC, pfn: Number(memory.busStart >> 12n), write: true },
    ]);
    expect(machine.dirty()).toEqual([]);
    iommu.map(NIC, 0x5_0000n, memory.start + 0x3000n, 0x1000n);
    expect(nic.engine.writeNow(busAddr(0x5_0010n), HELLO).status).toBe("ok");
    expect(memory.peek(0x3010, HELLO.length)).toEqual(HELLO);
  });

  it("without redirect the IOMMU never sees the peer request", () => {
    const iommu = new IommuStub();
    const { gpu, nic } = build({}, { iommu });
    expect(nic.engine.writeNow(gpu.bar(2).busStart, HELLO).status).toBe("ok");
    expect(iommu.faults).toEqual([]);
  });

  it("a transfer that runs over the end of a BAR stops at the first byte that nobody answers to", () => {
    const { gpu, far } = build({});
    const memory = far.bar(0);
    const end = memory.busStart + memory.length;
    const done = gpu.engine.writeNow(busAddr(end - 4n), HELLO);
    expect(done).toEqual({ status: "unsupported-request", transferred: 4, at: end });
    expect(memory.peek(memory.length - 4n, 4)).toEqual(HELLO.subarray(0, 4));
  });

  it("an IOVA that runs into a peer's window is split at the window's edge", () => {
    const iommu = new IommuStub();
    const { gpu, nic, machine } = build({}, { iommu });
    const window = gpu.bar(2).busStart & ~(MIB - 1n);
    const pages = machine.ram.allocate(0x1000);
    iommu.map(NIC, window - 0x1000n, pages, 0x2000n);
    const bytes = new Uint8Array(0x2000).fill(7);
    expect(nic.engine.writeNow(busAddr(window - 0x1000n), bytes).transferred).toBe(0x2000);
    expect(machine.dirty()).toEqual([
      { where: "ram", pages: [Number(pages >> 12n)] },
      { where: `${GPU} BAR 2`, pages: [0] },
    ]);
  });
});

describe("egress control", () => {
  it("a clear vector bit lets the peer through, a set one is a violation without request redirect and a detour with it", () => {
    const { machine, gpu, nic, events } = build({ acs: acsBits.EC });
    const port = machine.function(NIC_PORT);
    const target = gpu.bar(2).busStart;
    expect(nic.engine.writeNow(target, HELLO).status).toBe("completer-abort");
    port.writeConfig(0x108, 4, 0xffff_fffe);
    expect(nic.engine.writeNow(target, HELLO).status).toBe("ok");
    port.writeConfig(0x106, 2, acsBits.EC | acsBits.RR);
    nic.engine.writeNow(target, HELLO);
    port.writeConfig(0x108, 4, 1);
    nic.engine.writeNow(target, HELLO);
    expect(events.map((event) => event.route)).toEqual([undefined, "peer", "peer", "host-bridge"]);
  });
});

describe("source validation and translation blocking", () => {
  it("a requester ID from outside the port's buses is a violation", () => {
    const { gpu, nic } = build({ acs: acsBits.SV });
    const target = gpu.bar(2).busStart;
    expect(nic.engine.writeNow(target, HELLO, { requesterBus: 9 }).status).toBe("completer-abort");
    expect(nic.engine.writeNow(target, HELLO).status).toBe("ok");
  });

  it("translated requests are refused where blocking is on, and skip the IOMMU elsewhere", () => {
    const iommu = new IommuStub();
    const { machine, gpu, nic, events } = build({ acs: acsBits.TB | acsBits.RR }, { iommu });
    const target = gpu.bar(2).busStart;
    const ats = { translated: true };
    expect(nic.engine.writeNow(target, HELLO, ats).status).toBe("completer-abort");
    const port = machine.function(NIC_PORT);
    port.writeConfig(0x106, 2, acsBits.RR);
    expect(nic.engine.writeNow(target, HELLO, ats).status).toBe("ok");
    port.writeConfig(0x106, 2, acsBits.RR | acsBits.DT);
    expect(nic.engine.writeNow(target, HELLO, ats).status).toBe("ok");
    expect(events.map((event) => event.route)).toEqual([undefined, "host-bridge", "peer"]);
    expect(iommu.faults).toEqual([]);
  });
});

describe("two functions of one device", () => {
  const twoFunctions = (rr: boolean, portAcs: number) =>
    topologyOf([
      {
        at: ROOT_PORT,
        type: "root-port",
        children: [
          {
            at: "0000:01:00.0",
            type: "switch-upstream",
            children: [
              {
                at: GPU_PORT,
                type: "switch-downstream",
                acs: portAcs,
                children: [
                  { at: "0000:03:00.0", bars: [bar(MIB)], ...(rr ? { acs: acsBits.RR } : {}) },
                  { at: "0000:03:00.1", bars: [bar(MIB)], ...(rr ? { acs: acsBits.RR } : {}) },
                ],
              },
            ],
          },
        ],
      },
    ]);

  it("reach each other inside the device", () => {
    const { events, sink } = tlps();
    const machine = Machine.from(twoFunctions(false, 0), { events: sink });
    const target = machine.function("0000:03:00.1").bar(0);
    machine.function("0000:03:00.0").engine.writeNow(target.busStart, HELLO);
    expect(target.peek(0, HELLO.length)).toEqual(HELLO);
    expect(events[0]?.route).toBe("peer");
  });

  it("with redirect in the device need upstream forwarding in the port above", () => {
    const { events, sink } = tlps();
    const machine = Machine.from(twoFunctions(true, 0), { events: sink });
    const target = machine.function("0000:03:00.1").bar(0);
    const { engine } = machine.function("0000:03:00.0");
    expect(engine.writeNow(target.busStart, HELLO).status).toBe("unsupported-request");
    machine.function(GPU_PORT).writeConfig(0x106, 2, acsBits.UF);
    expect(engine.writeNow(target.busStart, HELLO).status).toBe("ok");
    expect(events.map((event) => event.route)).toEqual([undefined, "host-bridge"]);
  });
});

describe("through the root complex", () => {
  it("root ports of one host bridge reach each other by CPU address", async () => {
    const { gpu, far, events } = build({});
    expect((await far.engine.write(busAddr(gpu.bar(2).start), HELLO)).status).toBe("ok");
    expect(gpu.bar(2).peek(0, HELLO.length)).toEqual(HELLO);
    expect(events[0]?.route).toBe("host-bridge");
  });

  it("a host bridge that blocks peers leaves them unsupported, host memory still works", () => {
    const { machine, gpu, far } = build({}, { hostBridgeForwarding: "block" });
    expect(far.engine.writeNow(gpu.bar(2).busStart, HELLO).status).toBe("unsupported-request");
    const page = machine.ram.allocate(4096);
    expect(far.engine.writeNow(busAddr(page), HELLO).status).toBe("ok");
    expect(machine.ram.peek(page, HELLO.length)).toEqual(HELLO);
  });

  it("a host bridge that corrupts changes bytes, the same ones every time, and only in the target", () => {
    const sums = [0, 1].map(() => {
      const { machine, gpu, far } = build({}, { hostBridgeForwarding: "corrupt", seed: 5 });
      const bytes = new Uint8Array(4096).fill(0x55);
      expect(far.engine.writeNow(gpu.bar(2).busStart, bytes).status).toBe("ok");
      const got = gpu.bar(2).peek(0, 4096);
      const wrong = got.filter((byte) => byte !== 0x55).length;
      expect(wrong).toBe(64);
      expect(machine.dirty()).toEqual([{ where: `${GPU} BAR 2`, pages: [0] }]);
      return gpu.bar(2).checksum();
    });
    expect(sums[0]).toBe(sums[1]);
  });

  it("the policy may differ by pair of host bridges", () => {
    const topology = topologyOf(
      [
        {
          at: "0000:00:01.0",
          type: "root-port",
          children: [{ at: "0000:01:00.0", bars: [bar(MIB)] }],
        },
      ],
      [
        {
          at: "0000:80:01.0",
          type: "root-port",
          children: [{ at: "0000:81:00.0", bars: [bar(MIB)] }],
        },
      ],
    );
    const machine = Machine.from(topology, {
      hostBridgeForwarding: (from, to) => (from.bus === to.bus ? "forward" : "block"),
    });
    const near = machine.function("0000:01:00.0");
    const far = machine.function("0000:81:00.0");
    expect(near.engine.writeNow(far.bar(0).busStart, HELLO).status).toBe("unsupported-request");
    expect(near.engine.writeNow(near.bar(0).busStart, HELLO).status).toBe("ok");
  });

  it("an address that belongs to nobody is unsupported, whatever it is", () => {
    const { nic, machine } = build({});
    for (const address of [0xfee0_0000n, 1n << 52n, (1n << 64n) - 4096n, -4096n]) {
      const done = nic.engine.readNow(busAddr(address), new Uint8Array(16));
      expect(done).toEqual({ status: "unsupported-request", transferred: 0, at: address });
    }
    expect(machine.dirty()).toEqual([]);
  });
});

describe("two host bridges with the same bus addresses", () => {
  it("are told apart by CPU address, and a peer's bus address never leaves its own bridge", () => {
    const bus = 0x8000_0000n;
    const device = (root: string, below: string, start: bigint) => ({
      at: root,
      type: "root-port" as const,
      children: [{ at: below, bars: [bar(MIB, start, bus)] }],
    });
    const machine = Machine.from(
      topologyOf(
        [device("0000:00:01.0", "0000:01:00.0", 0x60_0000_0000n)],
        [device("0000:80:01.0", "0000:81:00.0", 0x70_0000_0000n)],
      ),
    );
    expect(machine.notes).toEqual([]);
    const [near, far] = ["0000:01:00.0", "0000:81:00.0"].map((at) => machine.function(at));
    expect([near?.bar(0).busStart, far?.bar(0).busStart]).toEqual([bus, bus]);
    expect(near?.engine.writeNow(busAddr(0x70_0000_0000n), HELLO).status).toBe("ok");
    expect(far?.bar(0).peek(0, HELLO.length)).toEqual(HELLO);
    expect(near?.bar(0).dirtyPages()).toEqual([]);
    expect(near?.engine.writeNow(busAddr(bus), HELLO).status).toBe("ok");
    expect(near?.bar(0).peek(0, HELLO.length)).toEqual(HELLO);
    expect(far?.bar(0).dirtyPages()).toEqual([0]);
  });
});

describe("a host bridge that translates addresses", () => {
  const offset = 0x1_0000_0000n;
  const topology = () =>
    topologyOf([
      {
        at: ROOT_PORT,
        type: "root-port",
        children: [
          {
            at: "0000:01:00.0",
            type: "switch-upstream",
            children: [
              {
                at: GPU_PORT,
                type: "switch-downstream",
                children: [
                  { at: GPU, bars: [bar(MIB, 0x60_0000_0000n, 0x60_0000_0000n + offset)] },
                ],
              },
              {
                at: NIC_PORT,
                type: "switch-downstream",
                children: [
                  { at: NIC, bars: [bar(MIB, 0x60_0010_0000n, 0x60_0010_0000n + offset)] },
                ],
              },
            ],
          },
        ],
      },
    ]);

  it("p2pdma R3: peers use bus addresses, the CPU uses its own", () => {
    const machine = Machine.from(topology());
    const memory = machine.function(GPU).bar(0);
    expect(memory.busStart - memory.start).toBe(offset);
    expect(machine.function(NIC).engine.writeNow(memory.busStart, HELLO).status).toBe("ok");
    const bytes = new Uint8Array(HELLO.length);
    machine.cpu.read(memory.start, bytes);
    expect(bytes).toEqual(HELLO);
    expect(() => {
      machine.cpu.read(physAddr(memory.busStart), bytes);
    }).toThrow(expect.objectContaining({ code: "EFAULT" }));
  });

  it("known-bugs B49: a CPU address in a peer's hands leaves the switch and depends on the host bridge", () => {
    for (const hostBridgeForwarding of ["forward", "block"] as const) {
      const { events, sink } = tlps();
      const machine = Machine.from(topology(), { events: sink, hostBridgeForwarding });
      const memory = machine.function(GPU).bar(0);
      const done = machine.function(NIC).engine.writeNow(busAddr(memory.start), HELLO);
      const forwarded = hostBridgeForwarding === "forward";
      expect(done.status).toBe(forwarded ? "ok" : "unsupported-request");
      expect(events[0]?.route).toBe(forwarded ? "host-bridge" : undefined);
      expect(machine.dirty().length).toBe(forwarded ? 1 : 0);
    }
  });
});
