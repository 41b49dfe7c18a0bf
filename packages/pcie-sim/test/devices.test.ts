import { busAddr, type DmaAddr, type EventSink, type PhysAddr } from "@peerbar/core";
import { describe, expect, it } from "vitest";
import {
  adminOpcodes,
  decodeCompletion,
  encodeCommand,
  encodeReceive,
  encodeWork,
  ioOpcodes,
  Machine,
  type MachineOptions,
  Nic,
  NVME_BLOCK,
  type NvmeCommand,
  NvmeController,
  nicOpcodes,
  nicStatus,
  nvmeStatus,
  type SimFunction,
} from "../src/index.js";
import { bar, FAR_NIC, GPU, NIC, server, topologyOf } from "./topologies.js";

const page = (seed: number) => Uint8Array.from({ length: 4096 }, (_, i) => (i * 13 + seed) & 0xff);

/** What a host driver does: queues in host memory, doorbells by the CPU. */
class NvmeDriver {
  readonly nvme: NvmeController;
  readonly #machine: Machine;
  readonly #queues: { readonly sq: PhysAddr; readonly cq: PhysAddr; tail: number; head: number }[] =
    [];
  readonly #base: PhysAddr;
  #ids = 0;

  constructor(machine: Machine, fn: SimFunction, blocks?: number) {
    this.#machine = machine;
    this.nvme = new NvmeController(fn, { blocks });
    this.#base = fn.bar(0).start;
    this.enable();
  }

  /** From the beginning: CC.EN cleared and set, with an admin queue alone. */
  enable(): void {
    this.disable();
    this.#queues.length = 0;
    this.#addQueue();
    this.#set32(0x24, (15 << 16) | 15);
    this.#set64(0x28, this.#queue(0).sq);
    this.#set64(0x30, this.#queue(0).cq);
    this.#set32(0x14, 1);
  }

  disable(): void {
    this.#set32(0x14, 0);
  }

  async createIoQueue(): Promise<void> {
    this.#addQueue();
    const { sq, cq } = this.#queue(1);
    const size = (15 << 16) | 1;
    const made = [
      await this.run(0, {
        opcode: adminOpcodes.createCompletionQueue,
        prp1: busAddr(cq),
        dword10: size,
      }),
      await this.run(0, {
        opcode: adminOpcodes.createSubmissionQueue,
        prp1: busAddr(sq),
        dword10: size,
        dword11: 1 << 16,
      }),
    ];
    expect(made).toEqual([0, 0]);
  }

  /** One command from submission to completion; its status, or undefined where no completion came. */
  async run(id: number, command: Partial<NvmeCommand>): Promise<number | undefined> {
    const queue = this.#queue(id);
    this.#ids += 1;
    const command16 = this.#ids & 0xffff;
    this.#machine.ram.poke(
      (queue.sq + BigInt(queue.tail * 64)) as PhysAddr,
      encodeCommand({ ...command, id: command16 }),
    );
    queue.tail = (queue.tail + 1) % 16;
    this.#set32(0x1000 + 8 * id, queue.tail);
    await this.nvme.idle();
    const entry = this.#machine.ram.peek(
      (queue.cq + BigInt((queue.head % 16) * 16)) as PhysAddr,
      16,
    );
    const view = new DataView(entry.buffer);
    const phase = Math.floor(queue.head / 16) % 2 === 0 ? 1 : 0;
    const word = view.getUint32(12, true);
    if (((word >>> 16) & 1) !== phase || (word & 0xffff) !== command16) return undefined;
    queue.head += 1;
    return word >>> 17;
  }

  #queue(id: number) {
    const queue = this.#queues[id];
    if (queue === undefined) throw new Error(`queue ${String(id)}`);
    return queue;
  }

  #addQueue(): void {
    const { ram } = this.#machine;
    this.#queues.push({ sq: ram.allocate(4096), cq: ram.allocate(4096), tail: 0, head: 0 });
  }

  #set32(offset: number, value: number): void {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setUint32(0, value, true);
    this.#machine.cpu.write((this.#base + BigInt(offset)) as PhysAddr, bytes);
  }

  #set64(offset: number, value: bigint): void {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, value, true);
    this.#machine.cpu.write((this.#base + BigInt(offset)) as PhysAddr, bytes);
  }
}

describe("an NVMe controller", () => {
  async function drive() {
    const machine = Machine.from(server());
    const driver = new NvmeDriver(machine, machine.function(NIC), 1000);
    expect(driver.nvme.ready).toBe(true);
    await driver.createIoQueue();
    return { machine, driver, gpu: machine.function(GPU).bar(2) };
  }

  it("reads blocks straight into a peer's BAR and writes them back from there, PRP list included", async () => {
    const { machine, driver, gpu } = await drive();
    const data = Uint8Array.of(...page(1), ...page(2), ...page(3));
    driver.nvme.media.write(8 * NVME_BLOCK, data, 0, data.length);
    const list = machine.ram.allocate(4096);
    const places = [0x3000n, 0x1000n].map((at) => gpu.busStart + at);
    const entries = new Uint8Array(16);
    for (const [i, place] of places.entries())
      new DataView(entries.buffer).setBigUint64(8 * i, place, true);
    machine.ram.poke(list, entries);
    machine.clean();
    const command = { prp1: gpu.busStart, prp2: busAddr(list), dword10: 8, dword12: 23 };
    expect(await driver.run(1, { ...command, opcode: ioOpcodes.read })).toBe(nvmeStatus.success);
    expect(gpu.peek(0, 4096)).toEqual(page(1));
    expect(gpu.peek(0x3000, 4096)).toEqual(page(2));
    expect(gpu.peek(0x1000, 4096)).toEqual(page(3));
    expect(gpu.dirtyPages()).toEqual([0, 1, 3]);
    gpu.poke(0x3000, page(9));
    expect(await driver.run(1, { ...command, opcode: ioOpcodes.write, dword10: 100 })).toBe(0);
    const back = new Uint8Array(4096);
    driver.nvme.media.read(108 * NVME_BLOCK, back, 0, 4096);
    expect(back).toEqual(page(9));
  });

  it("splits an unaligned transfer at the page, and says where a list is missing or a block is past the end", async () => {
    const { driver, gpu } = await drive();
    driver.nvme.media.write(0, page(4), 0, 4096);
    const read = { opcode: ioOpcodes.read, dword12: 1 };
    const prp1 = busAddr(gpu.busStart + 0xe00n);
    expect(await driver.run(1, { ...read, prp1, prp2: busAddr(gpu.busStart + 0x8000n) })).toBe(0);
    expect(gpu.peek(0xe00, 512)).toEqual(page(4).subarray(0, 512));
    expect(gpu.peek(0x8000, 512)).toEqual(page(4).subarray(512, 1024));
    expect(await driver.run(1, { ...read, prp1, dword10: 999 })).toBe(nvmeStatus.lbaOutOfRange);
    expect(await driver.run(1, { ...read, prp1, prp2: busAddr(0x7n) })).toBe(
      nvmeStatus.invalidField,
    );
    expect(await driver.run(1, { opcode: 0x7f })).toBe(nvmeStatus.invalidOpcode);
    expect(
      await driver.run(0, {
        opcode: adminOpcodes.createSubmissionQueue,
        dword10: (3 << 16) | 2,
        dword11: 9 << 16,
      }),
    ).toBe(nvmeStatus.completionQueueInvalid);
  });

  it("identifies its namespace", async () => {
    const { machine, driver } = await drive();
    const where = machine.ram.allocate(4096);
    expect(await driver.run(0, { opcode: adminOpcodes.identify, prp1: busAddr(where) })).toBe(0);
    expect(new DataView(machine.ram.peek(where, 8).buffer).getBigUint64(0, true)).toBe(1000n);
  });

  it("goes round its rings many times", async () => {
    const { driver, gpu } = await drive();
    for (let i = 0; i < 70; i++) {
      driver.nvme.media.write(0, page(i), 0, 512);
      expect(await driver.run(1, { opcode: ioOpcodes.read, prp1: gpu.busStart })).toBe(0);
      expect(gpu.peek(0, 512)).toEqual(page(i).subarray(0, 512));
    }
  });

  it("a BAR that stopped decoding gives Data Transfer Error and changes nothing", async () => {
    const { machine, driver, gpu } = await drive();
    machine.function(GPU).writeConfig(4, 2, 4);
    gpu.clean();
    const read = { opcode: ioOpcodes.read, prp1: gpu.busStart, dword12: 7 };
    expect(await driver.run(1, read)).toBe(nvmeStatus.dataTransferError);
    expect(gpu.dirtyPages()).toEqual([]);
  });

  it("a queue that cannot be reached is fatal, a reset ends that", async () => {
    const { machine, driver } = await drive();
    const fn = machine.function(NIC);
    fn.writeConfig(4, 2, 2);
    expect(await driver.run(1, { opcode: ioOpcodes.flush })).toBeUndefined();
    expect(fn.bar(0).peek(0x1c, 1)[0]).toBe(3);
    await fn.reset();
    expect(driver.nvme.ready).toBe(false);
    expect(fn.bar(0).peek(0x1c, 1)[0]).toBe(0);
  });

  it.each(["CC.EN", "a function reset"])(
    "what was begun before %s has no effect after it, on the media or in memory",
    async (how) => {
      let requests = 0;
      let strike = (): void => undefined;
      const emit: EventSink["emit"] = (event) => {
        if (event.type !== "tlp") return;
        requests -= 1;
        // Between this request and the next.
        if (requests === 0) queueMicrotask(strike);
      };
      const machine = Machine.from(server(), { events: { emit } });
      const fn = machine.function(NIC);
      const driver = new NvmeDriver(machine, fn, 1000);
      const { media } = driver.nvme;
      const data = machine.ram.allocate(4 * 4096);
      const list = machine.ram.allocate(4096);
      const entries = new BigUint64Array([1n, 2n, 3n].map((i) => data + 4096n * i));
      machine.ram.poke(list, new Uint8Array(entries.buffer));
      const command = { prp1: busAddr(data), prp2: busAddr(list), dword12: 31 };
      const bytes = () => [media.allocated, machine.ram.peek(data, 4 * 4096)];
      // Fetch, list, four pages, completion: the reset comes behind each of them.
      for (let after = 1; after <= 7; after++) {
        for (const opcode of [ioOpcodes.write, ioOpcodes.read]) {
          driver.enable();
          await driver.createIoQueue();
          media.clear();
          machine.ram.poke(data, new Uint8Array(4 * 4096).fill(0xee));
          let atReset: unknown[] = [];
          let done: Promise<void> | undefined;
          requests = after;
          strike = () => {
            if (how === "CC.EN") driver.disable();
            else done = fn.reset();
            atReset = bytes();
          };
          expect(await driver.run(1, { ...command, opcode })).toBe(after < 7 ? undefined : 0);
          expect([opcode, after, ...bytes()]).toEqual([opcode, after, ...atReset]);
          expect(fn.bar(0).peek(0x1c, 1)[0]).toBe(0);
          await done;
        }
      }
    },
  );

  it("needs 8 KiB of registers", () => {
    const machine = Machine.from(topologyOf([{ at: "0000:00:04.0", bars: [bar(4096n)] }]));
    expect(() => new NvmeController(machine.function("0000:00:04.0"))).toThrow(
      expect.objectContaining({ code: "EINVAL" }),
    );
  });
});

describe("a NIC", () => {
  const KEY = 0x100;
  const GPU_KEY = 0x200;

  function wire(options: MachineOptions = {}) {
    const machine = Machine.from(server(), options);
    const near = new Nic(machine.function(NIC));
    const far = new Nic(machine.function(FAR_NIC));
    const gpu = machine.function(GPU).bar(2);
    const rings = [near, far].map((nic) => {
      const base = machine.ram.allocate(3 * 4096);
      const at = (i: number): DmaAddr => busAddr(base + BigInt(i * 4096));
      nic.createQueuePair(0, { send: at(0), receive: at(1), completion: at(2), depth: 4 });
      return base;
    });
    Nic.connect(near, 0, far, 0);
    const local = machine.ram.allocate(8192);
    near.keys.set(KEY, {
      start: 0n,
      segments: [{ address: busAddr(local), length: 8192 }],
      remoteRead: false,
      remoteWrite: false,
    });
    far.keys.set(GPU_KEY, {
      start: 0x1_0000n,
      segments: [
        { address: busAddr(gpu.start + 0x2000n), length: 4096 },
        { address: busAddr(gpu.start), length: 4096 },
      ],
      remoteRead: true,
      remoteWrite: true,
    });
    let posted = 0;
    const post = async (opcode: number, length: number, remote = 0x1_0000n, key = GPU_KEY) => {
      const base = rings[0] ?? 0n;
      const entry = encodeWork({
        opcode,
        id: posted,
        local: { address: 0n, length, key: KEY },
        remote: { address: remote, key },
      });
      machine.ram.poke((base + BigInt((posted % 4) * 64)) as PhysAddr, entry);
      const slot = posted % 4;
      posted += 1;
      ring(NIC, 0, posted);
      await near.idle();
      return decodeCompletion(machine.ram.peek((base + 8192n + BigInt(slot * 32)) as PhysAddr, 32));
    };
    const ring = (at: string, which: number, value: number): void => {
      const bytes = new Uint8Array(4);
      new DataView(bytes.buffer).setUint32(0, value, true);
      const address = machine.function(at).bar(0).start + BigInt(Nic.doorbell(0) + 4 * which);
      machine.cpu.write(address as PhysAddr, bytes);
    };
    return { machine, near, far, gpu, local, rings, post, ring };
  }

  it("writes over the wire into a BAR behind the far NIC, segment by segment, and reads it back", async () => {
    const { machine, gpu, local, post } = wire();
    machine.ram.poke(local, Uint8Array.of(...page(1), ...page(2)));
    expect(await post(nicOpcodes.write, 8192)).toMatchObject({
      id: 0,
      status: nicStatus.success,
      length: 8192,
      phase: 1,
    });
    expect(gpu.peek(0x2000, 4096)).toEqual(page(1));
    expect(gpu.peek(0, 4096)).toEqual(page(2));
    machine.ram.poke(local, new Uint8Array(8192));
    expect(await post(nicOpcodes.read, 100, 0x1_0ff0n)).toMatchObject({ id: 1, status: 0 });
    expect(machine.ram.peek(local, 100)).toEqual(
      Uint8Array.of(...page(1).subarray(0xff0), ...page(2).subarray(0, 84)),
    );
  });

  it("a key that was taken away fails the request and flushes what follows", async () => {
    const { far, gpu, post } = wire();
    gpu.clean();
    far.keys.delete(GPU_KEY);
    expect(await post(nicOpcodes.write, 64)).toMatchObject({ status: nicStatus.remoteAccess });
    expect(await post(nicOpcodes.write, 64)).toMatchObject({ status: nicStatus.flushed });
    expect(gpu.dirtyPages()).toEqual([]);
  });

  it.each([
    ["past the end of the key", nicOpcodes.write, 64, 0x1_1fffn, GPU_KEY, nicStatus.remoteAccess],
    ["before its start", nicOpcodes.read, 64, 0xffffn, GPU_KEY, nicStatus.remoteAccess],
    [
      "more than the local key has",
      nicOpcodes.write,
      8193,
      0x1_0000n,
      GPU_KEY,
      nicStatus.localProtection,
    ],
    ["an unknown operation", 99, 64, 0x1_0000n, GPU_KEY, nicStatus.localQueue],
    [
      "a message of 4 GiB",
      nicOpcodes.write,
      0xffff_ffff,
      0x1_0000n,
      GPU_KEY,
      nicStatus.localLength,
    ],
  ])("refuses %s", async (_what, opcode, length, remote, key, status) => {
    const { gpu, post } = wire();
    expect(await post(opcode, length, remote, key)).toMatchObject({ status });
    expect(gpu.dirtyPages()).toEqual([]);
  });

  it("a target that stopped decoding is a remote operation error", async () => {
    const { machine, post } = wire();
    machine.function(GPU).writeConfig(4, 2, 4);
    expect(await post(nicOpcodes.write, 64)).toMatchObject({ status: nicStatus.remoteOperation });
  });

  it("sends into what the other side offered, and not into nothing", async () => {
    const { machine, far, local, rings, post, ring } = wire();
    const target = machine.ram.allocate(4096);
    far.keys.set(7, {
      start: 0n,
      segments: [{ address: busAddr(target), length: 4096 }],
      remoteRead: false,
      remoteWrite: false,
    });
    machine.ram.poke(
      ((rings[1] ?? 0n) + 4096n) as PhysAddr,
      encodeReceive(5, { address: 0n, length: 4096, key: 7 }),
    );
    ring(FAR_NIC, 1, 1);
    machine.ram.poke(local, page(6));
    expect(await post(nicOpcodes.send, 1000)).toMatchObject({ status: 0 });
    expect(machine.ram.peek(target, 1000)).toEqual(page(6).subarray(0, 1000));
    const received = decodeCompletion(machine.ram.peek(((rings[1] ?? 0n) + 8192n) as PhysAddr, 32));
    expect(received).toMatchObject({ id: 5, status: 0, length: 1000 });
    expect(await post(nicOpcodes.send, 10)).toMatchObject({ status: nicStatus.receiverNotReady });
  });

  it.each([
    ["write", nicOpcodes.write, 10, 8],
    ["read", nicOpcodes.read, 10, 8],
    ["send", nicOpcodes.send, 10, 10],
  ])(
    "writes nothing more of a %s that was under way when it was reset, on either side",
    async (_what, opcode, near, far) => {
      for (const [at, last] of [
        [NIC, near],
        [FAR_NIC, far],
      ] as const) {
        let after = 1;
        for (; ; after++) {
          let requests = after;
          let strike = (): void => undefined;
          const emit: EventSink["emit"] = (event) => {
            if (event.type !== "tlp" || event.requester !== at) return;
            requests -= 1;
            // Between this request and the next.
            if (requests === 0) queueMicrotask(strike);
          };
          const one = wire({ events: { emit }, dmaChunkBytes: 1024 });
          const { machine, gpu, local, rings } = one;
          const offered = encodeReceive(5, { address: 0x1_0000n, length: 8192, key: GPU_KEY });
          machine.ram.poke(((rings[1] ?? 0n) + 4096n) as PhysAddr, offered);
          one.ring(FAR_NIC, 1, 1);
          await one.far.idle();
          machine.ram.poke(local, new Uint8Array(8192).fill(1));
          gpu.poke(0, new Uint8Array(3 * 4096).fill(2));
          // What only this side writes: its rings and its keys' memory.
          const bytes = (): unknown =>
            at === NIC
              ? [machine.ram.peek(rings[0] ?? local, 3 * 4096), machine.ram.peek(local, 8192)]
              : [machine.ram.peek(rings[1] ?? local, 3 * 4096), gpu.checksum()];
          let atReset: unknown;
          let done: Promise<void> | undefined;
          strike = () => {
            done = machine.function(at).reset();
            atReset = bytes();
          };
          await one.post(opcode, 8192);
          if (done === undefined) break;
          await done;
          expect([at, after, bytes()]).toEqual([at, after, atReset]);
        }
        expect([at, after - 1]).toEqual([at, last]);
      }
    },
  );

  it("a doorbell for more entries than the ring has breaks the queue instead of running away", async () => {
    const { near, gpu, ring, post } = wire();
    ring(NIC, 0, 0xffff_fff0);
    await near.idle();
    expect((await post(nicOpcodes.write, 64)).phase).toBe(0);
    expect(gpu.dirtyPages()).toEqual([]);
  });
});
