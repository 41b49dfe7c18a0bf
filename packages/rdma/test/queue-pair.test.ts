import { MicrotaskScheduler, type Waiter, type WaitPoint } from "@peerbar/core";
import { describe, expect, it } from "vitest";
import { type MemoryRegion, MrAccess, type MrMode, type Pd, RdmaDevice } from "../src/index.js";
import { FakeExporter, fakeNic, span, turns } from "./fixtures/exporter.js";

const ALL = MrAccess.LOCAL_WRITE | MrAccess.REMOTE_READ | MrAccess.REMOTE_WRITE;
const BASE = 0x10_0000n;

/** One machine: a NIC, a domain, a buffer in two stretches and a region over it. */
async function node(name: string, mode: MrMode = "pinned-revocable", access = ALL) {
  const { fn, engine } = fakeNic(name);
  const device = new RdmaDevice(fn);
  const pd = device.allocPd();
  const exporter = new FakeExporter([span(0x100_0000, 32), span(0x500_0000, 32)], { pin: true });
  const mr = await pd.regDmaBufMr(exporter.buffer, {
    offset: 0x1000n,
    length: 0x3_e000n,
    iova: BASE + 0x1000n,
    access,
    mode,
  });
  return { device, pd, exporter, mr, engine };
}

function pair(a: Pd, b: Pd) {
  const [qp, peer] = [a.createQp(), b.createQp()];
  qp.connect(peer);
  return { qp, peer };
}

async function loopback(mode?: MrMode, access?: number) {
  const one = await node("0000:01:00.0", mode, access);
  return { ...one, ...pair(one.pd, one.pd) };
}

function write(mr: MemoryRegion, offset: bigint, bytes: Uint8Array) {
  return { local: bytes, remoteAddr: mr.iova + offset, rkey: mr.rkey };
}

function pattern(length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) bytes[i] = i * 31 + 7;
  return bytes;
}

describe("RDMA write and read", () => {
  it("B39: bytes land at the mapped addresses, split over the entries, and come back", async () => {
    const { mr, qp, engine } = await loopback();
    const bytes = pattern(0x3000);
    expect(await qp.postWrite(write(mr, 0x1_e000n, bytes))).toMatchObject({
      opcode: "rdma-write",
      status: "success",
      bytes: 0x3000,
    });
    expect(engine.requests).toEqual([
      { kind: "write", address: 0x101_f000n, length: 0x1000 },
      { kind: "write", address: 0x500_0000n, length: 0x2000 },
    ]);
    const into = new Uint8Array(0x3000);
    expect(await qp.postRead(write(mr, 0x1_e000n, into))).toMatchObject({ status: "success" });
    expect(Buffer.compare(into, bytes)).toBe(0);
  });

  it("between two machines, from region to region", async () => {
    const [a, b] = [await node("0000:0a:00.0"), await node("0000:0b:00.0")];
    const { qp } = pair(a.pd, b.pd);
    const bytes = pattern(0x2_0000);
    const own = pair(a.pd, a.pd);
    await own.qp.postWrite(write(a.mr, 0n, bytes));
    const sge = (addr: bigint, length: number) => ({ lkey: a.mr.lkey, addr, length });
    const local = [sge(a.mr.iova + 0x1_0000n, 0x1_0000), sge(a.mr.iova, 0x1_0000)];
    expect(await qp.postWrite({ local, remoteAddr: b.mr.iova, rkey: b.mr.rkey })).toMatchObject({
      status: "success",
      bytes: 0x2_0000,
    });
    const into = new Uint8Array(0x2_0000);
    await qp.postRead({ local: into, remoteAddr: b.mr.iova, rkey: b.mr.rkey });
    expect(Buffer.compare(into.subarray(0, 0x1_0000), bytes.subarray(0x1_0000))).toBe(0);
    expect(Buffer.compare(into.subarray(0x1_0000), bytes.subarray(0, 0x1_0000))).toBe(0);
    expect(b.engine.requests.every(({ length }) => length <= 0x1_0000)).toBe(true);
  });

  it("what the key does not allow is a remote access error, no byte moves, and both ends are in error", async () => {
    const only = MrAccess.LOCAL_WRITE | MrAccess.REMOTE_READ;
    const { device, mr, engine, ...ends } = await loopback("pinned", only);
    const foreign = await node("0000:02:00.0");
    const bytes = pattern(16);
    const wrong = [
      write(mr, 0n, bytes),
      { ...write(mr, 0n, bytes), rkey: mr.rkey + 1 },
      { ...write(mr, 0n, bytes), rkey: 0 },
    ];
    const wrongReads = [
      write(mr, -1n, bytes),
      write(mr, 0x3_dff1n, bytes),
      { ...write(foreign.mr, 0n, bytes), rkey: 0x7fff_ff00 },
    ];
    for (const [requests, post] of [
      [wrong, "postWrite"],
      [wrongReads, "postRead"],
    ] as const) {
      for (const request of requests) {
        const { qp, peer } = pair(mr.pd, mr.pd);
        expect(await qp[post](request)).toMatchObject({ status: "remote-access-error", bytes: 0 });
        expect([qp.state, peer.state]).toEqual(["error", "error"]);
      }
    }
    const other = device.allocPd();
    const stranger = pair(other, other);
    expect(await stranger.qp.postRead(write(mr, 0n, bytes))).toMatchObject({
      status: "remote-access-error",
    });
    expect(engine.requests).toEqual([]);
    expect(await ends.qp.postRead(write(mr, 0x3_dff0n, bytes))).toMatchObject({
      status: "success",
    });
  });

  it("local keys are checked first: local protection error", async () => {
    const { mr, pd, engine } = await loopback("pinned", MrAccess.REMOTE_READ);
    for (const [post, lkey] of [
      ["postWrite", mr.lkey + 1],
      ["postRead", mr.lkey],
    ] as const) {
      const { qp } = pair(pd, pd);
      const local = [{ lkey, addr: mr.iova, length: 16 }];
      const request = { local, remoteAddr: mr.iova, rkey: post === "postRead" ? mr.rkey : 0 };
      expect(await qp[post](request)).toMatchObject({ status: "local-protection-error" });
    }
    expect(engine.requests.filter(({ kind }) => kind === "write")).toEqual([]);
  });

  it("a bus that refuses is an operation error of the side it happened on", async () => {
    const [a, b] = [await node("0000:0a:00.0"), await node("0000:0b:00.0")];
    b.engine.limit = 0n;
    const bytes = pattern(16);
    expect(await pair(a.pd, b.pd).qp.postWrite(write(b.mr, 0n, bytes))).toMatchObject({
      status: "remote-operation-error",
    });
    b.engine.limit = 1n << 60n;
    a.engine.limit = 0n;
    const local = [{ lkey: a.mr.lkey, addr: a.mr.iova, length: 16 }];
    expect(await pair(a.pd, b.pd).qp.postWrite({ ...write(b.mr, 0n, bytes), local })).toMatchObject(
      { status: "local-operation-error" },
    );
  });

  it("after an error requests are flushed until both ends are reset and connected again", async () => {
    const { mr, qp, peer } = await loopback();
    const bad = qp.postWrite({ ...write(mr, 0n, pattern(4)), rkey: 0 });
    const queued = qp.postWrite(write(mr, 0n, pattern(4)));
    expect([(await bad).status, (await queued).status]).toEqual([
      "remote-access-error",
      "flush-error",
    ]);
    expect(() => {
      qp.connect(peer);
    }).toThrow(expect.objectContaining({ code: "EINVAL" }));
    qp.reset();
    await expect(qp.postWrite(write(mr, 0n, pattern(4)))).rejects.toMatchObject({ code: "EINVAL" });
    peer.reset();
    qp.connect(peer);
    expect(await qp.postWrite(write(mr, 0n, pattern(4)))).toMatchObject({ status: "success" });
  });

  it("runs requests in order and refuses more than the queue takes", async () => {
    const { mr, pd, engine } = await loopback();
    const qp = pd.createQp({ maxSendWr: 2 });
    qp.connect(qp);
    const done: number[] = [];
    const posts = [1, 2].map((byte) =>
      qp.postWrite(write(mr, 0n, Uint8Array.of(byte))).then(() => done.push(byte)),
    );
    await expect(qp.postWrite(write(mr, 0n, Uint8Array.of(3)))).rejects.toMatchObject({
      code: "ENOMEM",
    });
    await Promise.all(posts);
    expect(done).toEqual([1, 2]);
    expect(engine.memory.get(0x100_1000)).toBe(2);
  });
});

describe("a reset", () => {
  it("flushes what was posted before: nothing of it reaches the next connection", async () => {
    const { mr, pd, qp, engine } = await loopback();
    const next = pd.createQp();
    const old = [1, 2].map((byte) => qp.postWrite(write(mr, 0n, Uint8Array.of(byte))));
    qp.reset();
    qp.connect(next);
    const fresh = qp.postWrite(write(mr, 1n, Uint8Array.of(3)));
    expect((await Promise.all([...old, fresh])).map(({ status }) => status)).toEqual([
      "flush-error",
      "flush-error",
      "success",
    ]);
    expect([qp.state, next.state]).toEqual(["ready", "ready"]);
    expect(engine.requests).toEqual([{ kind: "write", address: 0x100_1001n, length: 1 }]);
  });

  it("empties the send queue at once", async () => {
    const { mr, pd } = await loopback();
    const qp = pd.createQp({ maxSendWr: 1 });
    qp.connect(qp);
    const old = qp.postWrite(write(mr, 0n, Uint8Array.of(1)));
    qp.reset();
    qp.connect(qp);
    const fresh = qp.postWrite(write(mr, 0n, Uint8Array.of(2)));
    expect([(await old).status, (await fresh).status]).toEqual(["flush-error", "success"]);
  });

  it("withdraws a send that waits for the old peer's receive; neither connection is held up", async () => {
    const { mr, pd, qp, peer } = await loopback();
    const waiting = qp.postSend(Uint8Array.of(1));
    await turns();
    const next = pd.createQp();
    qp.reset();
    qp.connect(next);
    expect(await waiting).toMatchObject({ status: "flush-error" });
    expect(await qp.postWrite(write(mr, 0n, Uint8Array.of(2)))).toMatchObject({
      status: "success",
    });
    const into = new Uint8Array(1);
    const receive = peer.postReceive(into);
    await turns();
    peer.reset();
    expect([await receive, into[0]]).toMatchObject([{ status: "flush-error" }, 0]);
  });

  it("of the peer ends a transfer on its way without an answer, and its next connection is not touched", async () => {
    const [a, b] = [await node("0000:0a:00.0"), await node("0000:0b:00.0")];
    const { qp, peer } = pair(a.pd, b.pd);
    const next = b.pd.createQp();
    b.engine.gate = () => {
      peer.reset();
      peer.connect(next);
      b.engine.gate = undefined;
      return Promise.resolve();
    };
    expect(await qp.postWrite(write(b.mr, 0n, pattern(0x2_0000)))).toMatchObject({
      status: "retry-exceeded",
      bytes: 0x1_0000,
    });
    expect(b.engine.requests).toHaveLength(1);
    expect([qp.state, peer.state, next.state]).toEqual(["error", "ready", "ready"]);
    expect(await next.postWrite(write(b.mr, 0n, pattern(4)))).toMatchObject({ status: "success" });
  });

  it("of the peer leaves no receive to a send of the connection before", async () => {
    const { pd, qp, peer } = await loopback();
    const next = pd.createQp();
    const send = qp.postSend(Uint8Array.of(1));
    peer.reset();
    peer.connect(next);
    const into = new Uint8Array(1);
    const receive = peer.postReceive(into);
    expect(await send).toMatchObject({ status: "retry-exceeded" });
    expect(await next.postSend(Uint8Array.of(2))).toMatchObject({ status: "success" });
    expect([await receive, into[0]]).toMatchObject([{ status: "success" }, 2]);
  });

  it("between a receive and the send it was given to flushes the receive", async () => {
    const { qp, peer } = await loopback();
    const send = qp.postSend(Uint8Array.of(1));
    await turns();
    const receive = peer.postReceive(new Uint8Array(1));
    peer.reset();
    expect([await send, await receive]).toMatchObject([
      { status: "retry-exceeded" },
      { status: "flush-error" },
    ]);
  });
});

describe("after a revoke", () => {
  it("rdma-umem R18: a revoked region is a remote or a local protection error, and no byte moves", async () => {
    const [a, b] = [await node("0000:0a:00.0"), await node("0000:0b:00.0")];
    await b.exporter.move(true);
    expect(await pair(a.pd, b.pd).qp.postWrite(write(b.mr, 0n, pattern(16)))).toMatchObject({
      status: "remote-access-error",
      bytes: 0,
    });
    const local = [{ lkey: b.mr.lkey, addr: b.mr.iova, length: 16 }];
    expect(
      await pair(b.pd, a.pd).qp.postWrite({ ...write(a.mr, 0n, pattern(16)), local }),
    ).toMatchObject({ status: "local-protection-error" });
    expect([a.engine.requests, b.engine.requests]).toEqual([[], []]);
    await b.exporter.move(false);
    expect(await pair(a.pd, b.pd).qp.postRead(write(b.mr, 0n, pattern(16)))).toMatchObject({
      status: "remote-access-error",
    });
  });

  it("rdma-umem R17, B33: a stale key never reaches the region that was registered meanwhile", async () => {
    const { mr, pd, exporter, engine } = await loopback();
    await exporter.move(true);
    await exporter.move(false);
    const request = { offset: 0n, length: 0x1000n, iova: mr.iova, access: ALL };
    const fresh = await pd.regDmaBufMr(exporter.buffer, request);
    expect(await pair(pd, pd).qp.postWrite(write(mr, 0n, pattern(16)))).toMatchObject({
      status: "remote-access-error",
    });
    const stale = mr.rkey;
    await mr.dereg();
    const next = await pd.regDmaBufMr(exporter.buffer, request);
    expect(
      await pair(pd, pd).qp.postWrite({ ...write(fresh, 0n, pattern(16)), rkey: stale }),
    ).toMatchObject({ status: "remote-access-error" });
    expect(engine.requests).toEqual([]);
    expect(await pair(pd, pd).qp.postWrite(write(next, 0n, pattern(16)))).toMatchObject({
      status: "success",
    });
  });

  it("in the middle of a transfer: the exporter waits for what is on the wires, and nothing moves afterwards", async () => {
    const { mr, qp, exporter, engine } = await loopback();
    let open: () => void = () => undefined;
    engine.gate = () =>
      new Promise((resolve) => {
        open = resolve;
      });
    const transfer = qp.postWrite(write(mr, 0n, pattern(0x2_0000)));
    await turns();
    expect(engine.requests).toHaveLength(1);
    let revoked = false;
    const revoke = exporter.move(true).then(() => {
      revoked = true;
    });
    await turns();
    expect([revoked, exporter.mapped]).toEqual([false, 0]);
    open();
    await revoke;
    expect(await transfer).toMatchObject({ status: "remote-access-error", bytes: 0x1_0000 });
    expect(engine.requests).toHaveLength(1);
    expect(exporter.buffer.reservation.isSignaled("bookkeep")).toBe(true);
  });

  it("rdma-umem R16: a pinned region that cannot be told goes on", async () => {
    const { mr, qp, exporter } = await loopback("pinned");
    await exporter.move(true);
    expect(await qp.postWrite(write(mr, 0n, pattern(16)))).toMatchObject({ status: "success" });
  });

  it("rdma-umem R21, R23: a dynamic region fails while revoked, and comes back by a fault at another address", async () => {
    const { mr, pd, exporter, engine } = await loopback("dynamic");
    await exporter.move(true);
    expect(await pair(pd, pd).qp.postWrite(write(mr, 0n, pattern(4)))).toMatchObject({
      status: "remote-access-error",
      detail: expect.stringContaining("ENODEV") as unknown,
    });
    expect(engine.requests).toEqual([]);
    await exporter.move(false);
    exporter.spans = [span(0x900_0000, 64)];
    expect(await pair(pd, pd).qp.postWrite(write(mr, 0n, pattern(4)))).toMatchObject({
      status: "success",
    });
    expect(engine.requests).toEqual([{ kind: "write", address: 0x900_1000n, length: 4 }]);
  });

  it("rdma-umem R23: a dynamic transfer that is moved on the way ends at the new place, whole", async () => {
    const { mr, qp, exporter, engine } = await loopback("dynamic");
    const bytes = pattern(0x2_0000);
    let at = 0;
    engine.gate = async () => {
      at += 1;
      if (at !== 1) return;
      void exporter.relocate([span(0x900_0000, 64)]);
      await turns();
    };
    expect(await qp.postWrite(write(mr, 0n, bytes))).toMatchObject({ status: "success" });
    expect(engine.requests.map(({ address }) => address)).toEqual([0x100_1000n, 0x901_1000n]);
    for (let i = 0x1_0000; i < 0x2_0000; i += 997) {
      expect(engine.memory.get(0x900_1000 + i)).toBe(bytes[i]);
    }
  });

  it("rdma-umem R23: DMA that faults because its mapping went is repeated at the new place; a pinned region's is not", async () => {
    for (const [mode, status, places] of [
      ["dynamic", "success", [0x100_1000n, 0x900_1000n]],
      ["pinned-revocable", "remote-access-error", [0x100_1000n]],
    ] as const) {
      const { mr, qp, exporter, engine } = await loopback(mode);
      engine.gate = async () => {
        engine.limit = engine.requests.length === 1 ? 0n : 1n << 60n;
        if (engine.limit === 0n) void exporter.relocate([span(0x900_0000, 64)]);
        await turns();
      };
      expect(await qp.postWrite(write(mr, 0n, pattern(16)))).toMatchObject({ status });
      expect(engine.requests.map(({ address }) => address)).toEqual(places);
    }
  });

  it("rdma-umem R24: dereg waits for DMA on the wires before it unmaps", async () => {
    for (const mode of ["pinned", "pinned-revocable", "dynamic"] as const) {
      const { mr, qp, exporter, engine } = await loopback(mode);
      let open: () => void = () => undefined;
      engine.gate = () =>
        new Promise((resolve) => {
          open = resolve;
        });
      const transfer = qp.postWrite(write(mr, 0n, pattern(0x2_0000)));
      await turns();
      const gone = mr.dereg();
      await turns();
      expect(exporter.mapped).toBe(1);
      open();
      await gone;
      expect(exporter.mapped).toBe(0);
      expect(await transfer).toMatchObject({ status: "remote-access-error", bytes: 0x1_0000 });
      expect(engine.requests).toHaveLength(1);
    }
  });
});

describe("send and receive", () => {
  it("fills posted receives in order; both sides complete", async () => {
    const { mr, qp, peer } = await loopback();
    const first = new Uint8Array(8);
    const local = [{ lkey: mr.lkey, addr: mr.iova + 0x100n, length: 8 }];
    const receives = [peer.postReceive(first), peer.postReceive(local)];
    const sends = [qp.postSend(Uint8Array.of(1, 2)), qp.postSend(Uint8Array.of(3))];
    expect(await Promise.all([...sends, ...receives])).toMatchObject([
      { opcode: "send", status: "success", bytes: 2 },
      { opcode: "send", status: "success", bytes: 1 },
      { opcode: "receive", status: "success", bytes: 2 },
      { opcode: "receive", status: "success", bytes: 1 },
    ]);
    expect([...first.subarray(0, 3)]).toEqual([1, 2, 0]);
    const into = new Uint8Array(1);
    await qp.postRead(write(mr, 0x100n, into));
    expect(into[0]).toBe(3);
  });

  it("waits for a receive, or fails at once where it may not wait", async () => {
    const { pd, qp, peer } = await loopback();
    const send = qp.postSend(Uint8Array.of(9));
    await turns();
    const into = new Uint8Array(1);
    await peer.postReceive(into);
    expect([await send, into[0]]).toMatchObject([{ status: "success" }, 9]);
    const impatient = pd.createQp({ rnrRetry: "none" });
    impatient.connect(impatient);
    expect(await impatient.postSend(Uint8Array.of(1))).toMatchObject({
      status: "receiver-not-ready",
    });
  });

  it("a receive that is too small, or whose region is dead, fails both sides with their own status", async () => {
    const { mr, pd, exporter } = await loopback();
    const small = pair(pd, pd);
    const receive = small.peer.postReceive(new Uint8Array(1));
    expect(await small.qp.postSend(pattern(2))).toMatchObject({ status: "remote-invalid-request" });
    expect(await receive).toMatchObject({ status: "local-length-error" });
    await exporter.move(true);
    const dead = pair(pd, pd);
    const local = [{ lkey: mr.lkey, addr: mr.iova, length: 8 }];
    const lost = dead.peer.postReceive(local);
    expect(await dead.qp.postSend(pattern(2))).toMatchObject({ status: "remote-operation-error" });
    expect(await lost).toMatchObject({ status: "local-protection-error" });
  });

  it("destroying a queue pair flushes its receives and ends the peer's waiting send", async () => {
    const { pd, qp, peer } = await loopback();
    const send = qp.postSend(Uint8Array.of(1));
    await turns();
    peer.destroy();
    peer.destroy();
    expect(await send).toMatchObject({ status: "retry-exceeded" });
    await expect(peer.postReceive(new Uint8Array(1))).rejects.toMatchObject({ code: "EINVAL" });
    const other = pair(pd, pd);
    const receive = other.qp.postReceive(new Uint8Array(1));
    other.qp.destroy();
    expect(await receive).toMatchObject({ status: "flush-error" });
  });

  it("a length that no u32 can carry is refused at posting, and the queue goes on", async () => {
    const { mr, qp, peer } = await loopback();
    for (const length of [-1, 1.5, Number.NaN, 2 ** 32]) {
      const local = [{ lkey: mr.lkey, addr: mr.iova, length }];
      const remote = { local, remoteAddr: mr.iova, rkey: mr.rkey };
      const posts = [
        qp.postWrite(remote),
        qp.postRead(remote),
        qp.postSend(local),
        peer.postReceive(local),
      ];
      for (const post of posts) await expect(post).rejects.toMatchObject({ code: "EINVAL" });
    }
    expect([qp.state, peer.state]).toEqual(["ready", "ready"]);
    expect(await qp.postWrite(write(mr, 0n, pattern(8)))).toMatchObject({ status: "success" });
  });

  it("waits through the scheduler, which can name who is stuck", async () => {
    const waits: string[] = [];
    class Told extends MicrotaskScheduler {
      override park(point: WaitPoint): Waiter {
        waits.push(`${point.kind} ${point.on}`);
        return super.park(point);
      }
    }
    const device = new RdmaDevice(fakeNic("nic").fn, { scheduler: new Told() });
    const pd = device.allocPd();
    const { qp, peer } = pair(pd, pd);
    const send = qp.postSend(Uint8Array.of(1));
    await turns();
    expect(waits).toEqual(["drain nic.qp2 receive"]);
    const receive = qp.postReceive(new Uint8Array(1));
    expect(waits.slice(1)).toEqual(["drain nic.qp1 completion"]);
    await device.close();
    expect([await send, await receive]).toMatchObject([
      { status: "flush-error" },
      { status: "flush-error" },
    ]);
    expect(peer.state).toBe("destroyed");
  });

  it("needs a device that can master the bus", () => {
    const fn = { name: "dumb", pciAddress: "dumb", dmaMask: 0n };
    const pd = new RdmaDevice(fn).allocPd();
    expect(() => pd.createQp()).toThrow(expect.objectContaining({ code: "EOPNOTSUPP" }));
  });
});
