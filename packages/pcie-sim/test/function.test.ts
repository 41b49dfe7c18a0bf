import { busAddr, DmaBufError, MicrotaskScheduler, physAddr, type Scheduler } from "@peerbar/core";
import { acsBits, P2pdma } from "@peerbar/p2pdma";
import { VfioPci } from "@peerbar/vfio-pci";
import { describe, expect, it } from "vitest";
import { Machine } from "../src/index.js";
import { IommuStub } from "./stub-iommu.js";
import {
  bar,
  changed,
  FAR_NIC,
  GIB,
  GPU,
  GPU_PORT,
  MIB,
  NIC,
  NIC_PORT,
  ROOT_PORT,
  server,
  topologyOf,
} from "./topologies.js";

const BYTES = Uint8Array.from({ length: 64 }, (_, i) => i + 1);
const MEMORY = 0x2;
const MASTER = 0x4;

function build(spec: Parameters<typeof server>[0] = {}) {
  const machine = Machine.from(server(spec));
  return { machine, gpu: machine.function(GPU), nic: machine.function(NIC) };
}

/** Walks a capability list as software does, with a bound (p2pdma R31). */
function capabilities(machine: Machine, address: string): Map<number, number> {
  const fn = machine.function(address);
  const found = new Map<number, number>();
  let at = (fn.readConfig(0x06, 2) & 0x10) === 0 ? 0 : fn.readConfig(0x34, 1);
  for (let left = 48; at !== 0 && left > 0; left--) {
    found.set(fn.readConfig(at, 1), at);
    at = fn.readConfig(at + 1, 1);
  }
  return found;
}

describe("configuration space", () => {
  it("shows header, BARs, power management and PCI Express as software expects them", () => {
    const { machine, gpu } = build();
    expect(gpu.readConfig(0, 4)).toBe(0x1000_1af4);
    expect(gpu.readConfig(0x0e, 1)).toBe(0);
    expect(gpu.readConfig(0x0a, 2)).toBe(0x0302);
    const found = capabilities(machine, GPU);
    expect([...found.keys()]).toEqual([0x01, 0x10]);
    expect((gpu.readConfig((found.get(0x10) ?? 0) + 2, 2) >> 4) & 0xf).toBe(0);
    expect((capabilities(machine, GPU_PORT).get(0x10) ?? 0) > 0).toBe(true);
    expect(machine.function(GPU_PORT).readConfig(0x52, 2) >> 4).toBe(6);
    expect(machine.function(ROOT_PORT).readConfig(0x52, 2) >> 4).toBe(4);
  });

  it("sizes BARs as software does: all ones read back as the mask, and decode follows the register", () => {
    const { gpu, nic } = build();
    const memory = gpu.bar(2);
    expect(gpu.readConfig(0x18, 4) & 0xf).toBe(0xc);
    gpu.writeConfig(0x18, 4, 0xffff_ffff);
    gpu.writeConfig(0x1c, 4, 0xffff_ffff);
    expect(gpu.readConfig(0x18, 4)).toBe(0xff00_000c);
    expect(gpu.readConfig(0x1c, 4)).toBe(0xffff_ffff);
    expect(nic.engine.writeNow(memory.busStart, BYTES).status).toBe("unsupported-request");
    gpu.writeConfig(0x18, 4, Number(memory.busStart & 0xffff_ffffn));
    gpu.writeConfig(0x1c, 4, Number(memory.busStart >> 32n));
    expect(nic.engine.writeNow(memory.busStart, BYTES).status).toBe("ok");
    expect(memory.peek(0, 64)).toEqual(BYTES);
  });

  it("bridge windows are registers: closing one cuts off what is behind it", () => {
    const { machine, gpu, nic } = build();
    const port = machine.function(GPU_PORT);
    const window = [0x24, 0x28, 0x2c].map((at) => [at, port.readConfig(at, 4)] as const);
    expect(nic.engine.writeNow(gpu.bar(2).busStart, BYTES).status).toBe("ok");
    port.writeConfig(0x24, 4, 0x0000_fff0);
    expect(nic.engine.writeNow(gpu.bar(2).busStart, BYTES).status).toBe("unsupported-request");
    for (const [at, value] of window) port.writeConfig(at, 4, value);
    expect(nic.engine.writeNow(gpu.bar(2).busStart, BYTES).status).toBe("ok");
  });

  it("reads of all sizes agree, past a conventional function's 256 bytes they are all ones", () => {
    const machine = Machine.from(
      topologyOf([{ at: "0000:00:04.0", type: "none", bars: [bar(MIB)] }]),
    );
    const fn = machine.function("0000:00:04.0");
    expect(fn.readConfig(0x100, 4)).toBe(0xffff_ffff);
    expect(fn.readConfig(0x34, 1)).toBe(0);
    const { gpu } = build();
    const word = gpu.readConfig(0x10, 4);
    expect(gpu.readConfig(0x12, 2)).toBe(word >>> 16);
    expect(gpu.readConfig(0x13, 1)).toBe(word >>> 24);
  });

  it.each([
    [-4, 4],
    [1, 2],
    [0xffe, 4],
    [0x1000, 1],
    [0.5, 1],
    [Number.NaN, 1],
    [4, 3],
  ])(
    "refuses an access of offset %s and %s bytes with EINVAL and changes nothing",
    (offset, size) => {
      const { gpu } = build();
      const before = gpu.saveConfig();
      const bad = size as 1 | 2 | 4;
      expect(() => gpu.readConfig(offset, bad)).toThrow(DmaBufError);
      expect(() => {
        gpu.writeConfig(offset, bad, 0xffff_ffff);
      }).toThrow(expect.objectContaining({ code: "EINVAL" }));
      expect(gpu.saveConfig()).toEqual(before);
    },
  );

  it("ACS control takes only what the capability offers", () => {
    const topology = server({ acs: 0 });
    const machine = Machine.from(
      changed(topology, (fn) =>
        fn.acs.state === "present"
          ? {
              ...fn,
              acs: { state: "present" as const, control: 0, capability: acsBits.SV | acsBits.RR },
            }
          : fn,
      ),
    );
    const port = machine.function(NIC_PORT);
    expect(port.readConfig(0x100, 4) & 0xffff).toBe(0x000d);
    port.writeConfig(0x106, 2, 0x7f);
    expect(port.readConfig(0x106, 2)).toBe(acsBits.SV | acsBits.RR);
  });

  it("says where ACS is not shown, and gives no capability", () => {
    const topology = server();
    const machine = Machine.from(
      changed(topology, (fn) => ({
        ...fn,
        acs: { state: "unknown" as const, why: "not privileged" },
      })),
    );
    expect(machine.function(NIC_PORT).readConfig(0x100, 4)).toBe(0);
    const note = machine.notes.find(({ kind }) => kind === "acs-unknown");
    expect(note?.functions).toContain(NIC_PORT);
  });
});

describe("memory enable, bus mastering, power", () => {
  it("vfio-pci-dmabuf R22: with memory decode off, or in D3hot, nobody answers; the CPU faults (R31)", () => {
    const { machine, gpu, nic } = build();
    const memory = gpu.bar(2);
    const bytes = new Uint8Array(8);
    const answers = () => nic.engine.readNow(memory.busStart, bytes).status;
    expect(answers()).toBe("ok");
    gpu.writeConfig(0x04, 2, MASTER);
    expect(answers()).toBe("unsupported-request");
    expect(() => {
      machine.cpu.write(memory.start, BYTES);
    }).toThrow(expect.objectContaining({ code: "EFAULT", rule: "vfio-pci-dmabuf R31" }));
    gpu.writeConfig(0x04, 2, MASTER | MEMORY);
    expect(answers()).toBe("ok");
    gpu.writeConfig(0x44, 2, 3);
    expect(gpu.powerState).toBe(3);
    expect(answers()).toBe("unsupported-request");
    gpu.writeConfig(0x44, 2, 0);
    expect(answers()).toBe("ok");
    expect(machine.dirty()).toEqual([]);
  });

  it("without bus mastering nothing leaves the function, and a bridge passes nothing up", () => {
    const { machine, gpu } = build();
    const far = machine.function(FAR_NIC);
    const target = busAddr(gpu.bar(2).start);
    const set = (address: string, value: number) => {
      machine.function(address).writeConfig(0x04, 2, value);
    };
    set(FAR_NIC, MEMORY);
    expect(far.engine.writeNow(target, BYTES)).toMatchObject({
      status: "unsupported-request",
      transferred: 0,
    });
    set(FAR_NIC, MEMORY | MASTER);
    set("0000:00:02.0", MEMORY);
    expect(far.engine.writeNow(target, BYTES).status).toBe("unsupported-request");
    set("0000:00:02.0", MEMORY | MASTER);
    expect(far.engine.writeNow(target, BYTES).status).toBe("ok");
  });

  it("a bridge without memory decode lets nothing down", () => {
    const { machine, gpu, nic } = build();
    machine.function(GPU_PORT).writeConfig(0x04, 2, MASTER);
    expect(nic.engine.writeNow(gpu.bar(2).busStart, BYTES).status).toBe("unsupported-request");
  });

  it("virtual functions decode whatever their command register says", () => {
    const machine = Machine.from(
      topologyOf([
        {
          at: ROOT_PORT,
          type: "root-port",
          children: [
            { at: "0000:01:00.0", bars: [bar(MIB)] },
            { at: "0000:01:00.1", bars: [bar(MIB)], vfOf: "0000:01:00.0" },
          ],
        },
      ]),
    );
    const vf = machine.function("0000:01:00.1");
    expect(vf.isVirtual).toBe(true);
    expect(vf.readConfig(0x04, 2) & MEMORY).toBe(0);
    expect(vf.readConfig(0x00, 4)).toBe(0xffff_ffff);
    const done = machine.function("0000:01:00.0").engine.writeNow(vf.bar(0).busStart, BYTES);
    expect(done.status).toBe("ok");
    expect(vf.bar(0).peek(0, 64)).toEqual(BYTES);
  });
});

describe("reset", () => {
  it("keeps decode, mastering, BARs and ACS, wakes from D3hot, and zeroes BAR contents", async () => {
    const { gpu, nic } = build();
    const memory = gpu.bar(2);
    nic.engine.writeNow(memory.busStart, BYTES);
    gpu.writeConfig(0x44, 2, 3);
    const before = gpu.saveConfig();
    before[0x44] = (before[0x44] ?? 0) & ~3;
    await gpu.reset();
    expect(gpu.saveConfig()).toEqual(before);
    expect(gpu.powerState).toBe(0);
    expect(memory.peek(0, 64)).toEqual(new Uint8Array(64));
    expect(nic.engine.writeNow(memory.busStart, BYTES).status).toBe("ok");
  });

  it("keeps memory decode off where it was off", async () => {
    const { gpu } = build();
    gpu.writeConfig(0x04, 2, 0);
    await gpu.reset();
    expect(gpu.decodesMemory).toBe(false);
  });

  it("keeps BAR contents with keepBarMemory", async () => {
    const machine = Machine.from(server(), { keepBarMemory: true });
    machine.function(GPU).bar(2).poke(0, BYTES);
    await machine.function(GPU).reset();
    expect(machine.function(GPU).bar(2).peek(0, 64)).toEqual(BYTES);
  });

  it("answers nothing while it lasts, and a second reset is refused", async () => {
    const { gpu, nic } = build();
    const memory = gpu.bar(2);
    const done = gpu.reset();
    expect(gpu.resetting).toBe(true);
    expect(nic.engine.writeNow(memory.busStart, BYTES).status).toBe("unsupported-request");
    await expect(gpu.reset()).rejects.toMatchObject({ code: "EBUSY" });
    await done;
    expect(nic.engine.writeNow(memory.busStart, BYTES).status).toBe("ok");
  });

  it("bridges have no function-level reset", async () => {
    const { machine } = build();
    await expect(machine.function(GPU_PORT).reset()).rejects.toMatchObject({ code: "ENOTTY" });
  });

  it.each([
    [0x58, 2, 0x8000],
    [0x59, 1, 0x80],
    [0x58, 4, 0x8000],
  ] as const)(
    "the FLR bit, written at %s with %s bytes, does what hardware does: everything is lost",
    (offset, size, value) => {
      const { gpu } = build();
      gpu.bar(2).poke(0, BYTES);
      gpu.writeConfig(offset, size, value);
      expect(gpu.readConfig(0x04, 2)).toBe(0);
      expect(gpu.readConfig(0x18, 4) & ~0xf).toBe(0);
      expect(gpu.readConfig(0x58, 2)).toBe(0);
      expect(gpu.bar(2).peek(0, 64)).toEqual(new Uint8Array(64));
    },
  );
});

describe("DMA engines", () => {
  it("yield between chunks: memory disabled in the middle stops the rest", async () => {
    const { gpu, nic } = build();
    const memory = gpu.bar(2);
    const bytes = new Uint8Array(4 * 0x4_0000).fill(9);
    const writing = nic.engine.write(memory.busStart, bytes);
    await Promise.resolve();
    gpu.writeConfig(0x04, 2, MASTER);
    const done = await writing;
    expect(done.status).toBe("unsupported-request");
    expect(done.transferred).toBeGreaterThan(0);
    expect(done.transferred).toBeLessThan(bytes.length);
    expect(done.at).toBe(memory.busStart + BigInt(done.transferred));
    expect(memory.dirtyPages().length * 4096).toBe(done.transferred);
  });

  it("name themselves when they yield", async () => {
    const names: string[] = [];
    const plain = new MicrotaskScheduler();
    const scheduler: Scheduler = {
      park: (point) => plain.park(point),
      yield: (point) => {
        names.push(`${point.kind} ${point.on}`);
        return plain.yield(point);
      },
      defer: (task) => {
        plain.defer(task);
      },
      nowUs: 0,
      at: (us, callback) => plain.at(us, callback),
    };
    const machine = Machine.from(server(), { scheduler, dmaChunkBytes: 16 });
    await machine.function(NIC).engine.write(machine.function(GPU).bar(2).busStart, BYTES);
    expect(names).toEqual(Array.from({ length: 3 }, () => `yield ${NIC}`));
  });

  it("copy, scatter and gather move exactly what the lists say", async () => {
    const { machine, gpu, nic } = build();
    const memory = gpu.bar(2);
    const host = machine.ram.allocate(8192);
    machine.ram.poke(host, BYTES);
    expect((await nic.engine.copy(busAddr(host), busAddr(memory.busStart + 100n), 64)).status).toBe(
      "ok",
    );
    expect(memory.peek(100, 64)).toEqual(BYTES);
    const segments = [
      { address: busAddr(memory.busStart + 0x2000n), length: 10 },
      { address: busAddr(memory.busStart + 0x1000n), length: 54 },
    ];
    expect(await nic.engine.writeList(segments, BYTES)).toMatchObject({
      status: "ok",
      transferred: 64,
    });
    expect(memory.peek(0x2000, 11)).toEqual(Uint8Array.of(...BYTES.subarray(0, 10), 0));
    expect(memory.peek(0x1000, 54)).toEqual(BYTES.subarray(10));
    const back = new Uint8Array(64);
    await nic.engine.readList(segments, back);
    expect(back).toEqual(BYTES);
  });

  it("an aborted transfer throws EINTR, and what was moved stays moved", async () => {
    const { gpu, nic } = build();
    const controller = new AbortController();
    const writing = nic.engine.write(gpu.bar(2).busStart, new Uint8Array(0x10_0000).fill(1), {
      signal: controller.signal,
    });
    controller.abort();
    await expect(writing).rejects.toMatchObject({ code: "EINTR" });
    expect(gpu.bar(2).peek(0, 1)).toEqual(Uint8Array.of(1));
  });

  it("never puts an address on the wires that its mask does not reach", () => {
    const machine = Machine.from(server(), { dmaMask: () => 0xffff_ffffn });
    const nic = machine.function(NIC);
    const target = machine.function(GPU).bar(2);
    expect(nic.engine.writeNow(target.busStart, BYTES).status).toBe("unsupported-request");
    expect(() => nic.dma.mapPhys({ start: target.start, length: 4096n }, "bidirectional")).toThrow(
      expect.objectContaining({ code: "ENOMEM", rule: "dma-iova R2" }),
    );
  });

  it("stops at its mask in the middle of a run, whichever way the bytes go (dma-iova R2)", () => {
    const machine = Machine.from(server(), {
      ram: [{ start: 0n, length: 0x2_0000_0000n }],
      dmaMask: () => 0xff_ffffn,
    });
    const { engine } = machine.function(NIC);
    const edge = 0x100_0000n;
    const bytes = new Uint8Array(8192).fill(7);
    const cut = { status: "unsupported-request", transferred: 4096, at: edge };
    expect(engine.writeNow(busAddr(edge - 4096n), bytes)).toEqual(cut);
    expect(machine.ram.peek(physAddr(edge - 1n), 2)).toEqual(Uint8Array.of(7, 0));
    machine.ram.poke(physAddr(edge), bytes);
    const back = new Uint8Array(8192);
    expect(engine.readNow(busAddr(edge - 4096n), back)).toEqual(cut);
    expect(back.subarray(4095, 4097)).toEqual(Uint8Array.of(7, 0));
    expect(engine.copyNow(busAddr(edge - 4096n), busAddr(0x1000n), 8192)).toEqual(cut);
    machine.ram.poke(physAddr(edge), new Uint8Array(8192));
    expect(engine.copyNow(busAddr(0x1000n), busAddr(edge - 4096n), 8192)).toEqual(cut);
    expect(machine.ram.peek(physAddr(edge), 1)).toEqual(Uint8Array.of(0));
  });

  it("asks for no translation beyond its mask", () => {
    const iommu = new IommuStub();
    const machine = Machine.from(server(), { iommu, dmaMask: () => 0xff_ffffn });
    const { engine } = machine.function(NIC);
    iommu.map(NIC, 0xff_f000n, 0x5000n, 0x2000n);
    expect(engine.requestTranslation(busAddr(0xff_f000n), 8192, true)).toEqual({
      address: 0x5000n,
      length: 4096,
    });
    expect(engine.requestTranslation(busAddr(0x100_0000n), 4096, true)).toBeUndefined();
    expect(iommu.faults).toEqual([]);
  });

  it("dma-iova R2: without an IOMMU the DMA API gives the CPU address unchanged and no IOVA", () => {
    const { gpu, nic } = build();
    expect(nic.dma.space).toBe("bus");
    expect(nic.dma.tryAllocIova(4096n)).toBeUndefined();
    expect(nic.dma.mapPhys({ start: gpu.bar(2).start, length: 4096n }, "to-device")).toBe(
      gpu.bar(2).start,
    );
  });
});

describe("I/O BARs", () => {
  it("vfio-pci-dmabuf R7: are there, so that an export says EINVAL and not ENODEV", async () => {
    const topology = topologyOf([
      {
        at: "0000:00:04.0",
        type: "rc-integrated-endpoint",
        bars: [{ kind: "io", length: 256n, start: 0xc000n }, bar(MIB)],
      },
    ]);
    const fn = Machine.from(topology).function("0000:00:04.0");
    expect(fn.bars[0]).toMatchObject({ kind: "io", start: 0xc000n, length: 256n });
    expect(fn.readConfig(0x10, 4)).toBe(0xc001);
    fn.writeConfig(0x10, 4, 0xffff_ffff);
    expect(fn.readConfig(0x10, 4)).toBe(0xffff_ff01);
    expect(fn.memoryBars.map(({ index }) => index)).toEqual([1]);
    const device = await new VfioPci({ p2pdma: new P2pdma(topology) }).open(fn);
    const ranges = [{ offset: 0n, length: 4096n }];
    await expect(device.exportDmaBuf({ bar: 0, ranges })).rejects.toMatchObject({ code: "EINVAL" });
    await expect(device.exportDmaBuf({ bar: 3, ranges })).rejects.toMatchObject({ code: "ENODEV" });
  });
});

describe("BAR memory", () => {
  it("a BAR of 256 GiB costs what is touched", () => {
    const { gpu, nic } = build({ gpuBar: 256n * GIB });
    const memory = gpu.bar(2);
    expect(memory.length).toBe(256n * GIB);
    const last = memory.busStart + memory.length - 64n;
    expect(nic.engine.writeNow(busAddr(last), BYTES).status).toBe("ok");
    expect(nic.engine.writeNow(busAddr(memory.busStart + 100n * GIB), BYTES).status).toBe("ok");
    expect(memory.memory.allocated).toBe(2 * 0x1_0000);
    expect(memory.peek(256n * GIB - 64n, 64)).toEqual(BYTES);
    expect(memory.dirtyPages()).toEqual([100 * 0x4_0000, 0x400_0000 - 1]);
    expect(() => memory.peek(256n * GIB - 63n, 64)).toThrow(
      expect.objectContaining({ code: "EINVAL" }),
    );
  });

  it("a machine without a size for a BAR has no such BAR, and says so; barLengths gives one", () => {
    const topology = topologyOf([
      { at: "0000:00:04.0", type: "rc-integrated-endpoint", bars: [{ start: 0xf000_0000n }] },
    ]);
    const machine = Machine.from(topology);
    expect(machine.notes).toEqual([
      expect.objectContaining({ kind: "bar-size-unknown", functions: ["0000:00:04.0"] }),
    ]);
    expect(() => machine.function("0000:00:04.0").bar(0)).toThrow(
      expect.objectContaining({ code: "ENODEV" }),
    );
    const sized = Machine.from(topology, { barLengths: () => 0x1_0000n });
    expect(sized.function("0000:00:04.0").bar(0).busStart).toBe(0xf000_0000n);
  });
});
