import { DmaBufError, dispose, type ObjectWatch } from "@peerbar/core";
import { MrAccess } from "./access.js";
import type { WcOpcode, WcStatusName, WorkCompletion } from "./completion.js";
import { End } from "./connection-end.js";
import {
  accessRegion,
  checkLocal,
  gather,
  type LocalData,
  localLength,
  scatter,
} from "./local-data.js";
import type { Pd } from "./pd.js";
import { type Receive, ReceiveQueue } from "./receive-queue.js";
import { BURST_BYTES, type DmaResult } from "./region-dma.js";

/** Depths of a queue pair. */
export interface QueuePairOptions {
  /** Work requests that may wait in the send queue. */
  readonly maxSendWr?: number;
  /** What a send does while the peer has posted no receive: wait without end (`rnr_retry` 7), or fail at once (0). */
  readonly rnrRetry?: "infinite" | "none";
}

/** RDMA write and read: where the peer's memory is. */
export interface RemoteRequest {
  readonly local: LocalData;
  /** Address in the peer's region, by its IOVA. */
  readonly remoteAddr: bigint;
  /** Remote key of that region, as the peer gave it. */
  readonly rkey: number;
}

/** `reset`: not connected. `ready`: ready to send. `error`: every request is flushed until {@link QueuePair.reset}. */
export type QpState = "reset" | "ready" | "error" | "destroyed";

interface Outcome {
  readonly status: WcStatusName;
  readonly bytes: number;
  readonly detail?: string | undefined;
}

const DEFAULT_SEND_WR = 1024;
const FLUSHED: Outcome = { status: "flush-error", bytes: 0 };
const NO_ANSWER: Outcome = { status: "retry-exceeded", bytes: 0, detail: "no answer" };

/**
 * A reliable connected queue pair of the software device. Requests run in order, one at a time; the promise of each gives its completion and
 * never rejects for what happens on the wires. The first error puts both ends into the error state, as the hardware does.
 */
export class QueuePair implements Disposable {
  readonly pd: Pd;
  /** Number on its device, from 1. */
  readonly number: number;
  readonly #maxSendWr: number;
  readonly #rnrRetry: "infinite" | "none";
  readonly #onDestroy: (pair: QueuePair) => void;
  readonly #receives: ReceiveQueue;
  /** Its state and its queues are used without a lock. */
  readonly #watch: ObjectWatch | undefined;
  #current: QpState = "reset";
  /** Undefined in `reset` and once destroyed. */
  #end: End | undefined;

  /** @internal Made by `Pd.createQp`. */
  constructor(
    pd: Pd,
    number: number,
    options: QueuePairOptions,
    onDestroy: (pair: QueuePair) => void,
  ) {
    if (pd.device.fn.engine === undefined) {
      throw new DmaBufError("EOPNOTSUPP", "rdma.createQp", `${pd.device.name} has no DMA engine`);
    }
    this.pd = pd;
    this.number = number;
    this.#maxSendWr = options.maxSendWr ?? DEFAULT_SEND_WR;
    this.#rnrRetry = options.rnrRetry ?? "infinite";
    this.#onDestroy = onDestroy;
    const name = `${pd.device.name}.qp${number}`;
    this.#receives = new ReceiveQueue(name, pd.device.scheduler);
    this.#watch = pd.device.scheduler.watch?.object(name);
  }

  get state(): QpState {
    return this.#state;
  }

  get #state(): QpState {
    this.#watch?.touch(false);
    return this.#current;
  }

  set #state(state: QpState) {
    this.#watch?.touch(true);
    this.#current = state;
  }

  /**
   * Connects both ends: of one device (loopback, also with itself), of two devices, or of two machines.
   *
   * @throws DmaBufError EINVAL unless both are in the reset state.
   */
  connect(peer: QueuePair): void {
    if (this.#state !== "reset" || peer.#state !== "reset") {
      throw new DmaBufError(
        "EINVAL",
        "rdma.connectQp",
        `the ends are in state ${this.#state} and ${peer.#state}`,
        { hint: "reset() both first" },
      );
    }
    const connection = {};
    this.#end = new End(peer, connection);
    if (peer !== this) peer.#end = new End(this, connection);
    this.#state = "ready";
    peer.#state = "ready";
  }

  /**
   * Back to the start, with empty queues: the way out of the error state. What is queued or on its way is flushed; the peer gets no answer
   * any more. @throws DmaBufError EINVAL once destroyed.
   */
  reset(): void {
    if (this.#state === "destroyed") {
      throw new DmaBufError("EINVAL", "rdma.resetQp", "the queue pair is destroyed");
    }
    this.#disconnect("reset");
  }

  /** Writes local bytes into the peer's region. @throws DmaBufError EINVAL not connected, or for an sge that is none; ENOMEM where the send queue is full. */
  postWrite(request: RemoteRequest): Promise<WorkCompletion> {
    return this.#post("rdma-write", request.local, (end) => this.#write(end, request));
  }

  /** Reads the peer's region into local memory. @throws DmaBufError as {@link postWrite}. */
  postRead(request: RemoteRequest): Promise<WorkCompletion> {
    return this.#post("rdma-read", request.local, (end) => this.#read(end, request));
  }

  /** Sends local bytes into the peer's next posted receive. @throws DmaBufError as {@link postWrite}. */
  postSend(local: LocalData): Promise<WorkCompletion> {
    return this.#post("send", local, (end) => this.#send(end, local));
  }

  /** Offers local memory to the peer's sends, in order. Flushed in the error state. */
  async postReceive(local: LocalData): Promise<WorkCompletion> {
    this.#watch?.touch(true);
    if (this.#state === "destroyed") {
      throw new DmaBufError("EINVAL", "rdma.postReceive", "the queue pair is destroyed");
    }
    checkLocal(local, "rdma.postReceive");
    const outcome: Outcome = this.#state === "error" ? FLUSHED : await this.#receives.post(local);
    return this.#complete("receive", outcome);
  }

  /** Flushes what is queued and ends the queue pair. Destroying twice is harmless. */
  destroy(): void {
    if (this.#state === "destroyed") return;
    this.#disconnect("destroyed");
    this.#onDestroy(this);
  }

  [dispose](): void {
    this.destroy();
  }

  /** The next state comes first: who is woken finds the connection gone. */
  #disconnect(state: "reset" | "destroyed"): void {
    const end = this.#end;
    this.#state = state;
    this.#end = undefined;
    if (end !== undefined) {
      end.peer.#watch?.touch(true);
      end.peer.#receives.withdraw(end);
    }
    this.#receives.flush();
  }

  async #post(
    opcode: WcOpcode,
    local: LocalData,
    run: (end: End) => Promise<Outcome>,
  ): Promise<WorkCompletion> {
    const state = this.#state;
    const end = this.#end;
    if (end === undefined) {
      throw new DmaBufError("EINVAL", `rdma.${opcode}`, `the queue pair is in ${state}`, {
        hint: "connect() it first",
      });
    }
    checkLocal(local, `rdma.${opcode}`);
    // The order of requests in the queue matters.
    this.#watch?.touch(true);
    if (end.queued >= this.#maxSendWr) {
      throw new DmaBufError("ENOMEM", `rdma.${opcode}`, `${end.queued} requests are queued`, {
        hint: "wait for completions",
      });
    }
    end.queued += 1;
    const done = end.tail.then(() => this.#execute(end, run));
    end.tail = done;
    const outcome = await done;
    this.#watch?.touch(true);
    end.queued -= 1;
    return this.#complete(opcode, outcome);
  }

  async #execute(end: End, run: (end: End) => Promise<Outcome>): Promise<Outcome> {
    if (!this.#isReady(end.connection)) return FLUSHED;
    if (!end.peer.#isReady(end.connection)) return this.#break(end, NO_ANSWER);
    await this.pd.device.scheduler.yield({ kind: "latency", on: `${this.pd.device.name}.qp` });
    const outcome = await run(end);
    return outcome.status === "success" ? outcome : this.#break(end, outcome);
  }

  async #write(end: End, { local, remoteAddr, rkey }: RemoteRequest): Promise<Outcome> {
    return this.#bursts(end, localLength(local), async (at, burst) => {
      const fetched = await gather(this.pd, local, at, burst);
      if (!fetched.ok) return localFailure(fetched, at);
      const put = await end.peer.#remote(rkey, remoteAddr + BigInt(at), burst, "write");
      return put.ok ? undefined : remoteFailure(put, at);
    });
  }

  async #read(end: End, { local, remoteAddr, rkey }: RemoteRequest): Promise<Outcome> {
    return this.#bursts(end, localLength(local), async (at, burst) => {
      const fetched = await end.peer.#remote(rkey, remoteAddr + BigInt(at), burst, "read");
      if (!fetched.ok) return remoteFailure({ ...fetched, moved: 0 }, at);
      const put = await scatter(this.pd, local, at, burst);
      return put.ok ? undefined : localFailure(put, at);
    });
  }

  async #send(end: End, local: LocalData): Promise<Outcome> {
    const { peer } = end;
    const gone = this.#whyOver(end);
    if (gone !== undefined) return gone;
    peer.#watch?.touch(true);
    if (peer.#receives.empty && this.#rnrRetry === "none") {
      return { status: "receiver-not-ready", bytes: 0, detail: "the peer has posted no receive" };
    }
    const receive = await peer.#receives.take(end);
    const over = this.#whyOver(end);
    if (receive === undefined) return over ?? NO_ANSWER;
    if (over !== undefined) {
      peer.#returned(receive, end);
      return over;
    }
    const length = localLength(local);
    if (length > localLength(receive.local)) {
      receive.done({ status: "local-length-error", bytes: 0 });
      return { status: "remote-invalid-request", bytes: 0, detail: "longer than the receive" };
    }
    const outcome = await this.#bursts(end, length, async (at, burst) => {
      const fetched = await gather(this.pd, local, at, burst);
      if (!fetched.ok) return localFailure(fetched, at);
      return peer.#receive(receive, at, burst);
    });
    receive.done(outcome.status === "success" ? outcome : FLUSHED);
    return outcome;
  }

  /** A send ended before it used its receive: the next may have it, unless its connection is over. */
  #returned(receive: Receive, end: End): void {
    this.#watch?.touch(true);
    if (this.#isReady(end.connection)) this.#receives.giveBack(receive);
    else receive.done(FLUSHED);
  }

  /** The receiving side of one burst of a send. */
  async #receive(receive: Receive, at: number, burst: Uint8Array): Promise<Outcome | undefined> {
    const put = await scatter(this.pd, receive.local, at, burst);
    if (put.ok) return undefined;
    receive.done(localFailure(put, at));
    return { status: "remote-operation-error", bytes: at, detail: put.detail };
  }

  /** The responder: checks the key against its own device and domain, then moves the bytes. */
  #remote(rkey: number, address: bigint, bytes: Uint8Array, kind: "read" | "write") {
    const access = kind === "write" ? MrAccess.REMOTE_WRITE : MrAccess.REMOTE_READ;
    return accessRegion(this.pd.device.region(rkey), this.pd, address, bytes, access, kind);
  }

  /** Runs `move` over the message in bursts; a revoke, or the end of the connection, in between stops it at the next one. */
  async #bursts(
    end: End,
    length: number,
    move: (at: number, burst: Uint8Array) => Promise<Outcome | undefined>,
  ): Promise<Outcome> {
    const scratch = new Uint8Array(Math.min(length, BURST_BYTES));
    for (let at = 0; at < length; at += BURST_BYTES) {
      const over = this.#whyOver(end);
      if (over !== undefined) return { ...over, bytes: at };
      const failure = await move(at, scratch.subarray(0, Math.min(BURST_BYTES, length - at)));
      if (failure !== undefined) return failure;
    }
    return { status: "success", bytes: length };
  }

  /** The failure puts both ends into the error state: those of its own connection only. */
  #break({ peer, connection }: End, failure: Outcome): Outcome {
    for (const pair of [this, peer]) {
      if (!pair.#isReady(connection)) continue;
      pair.#state = "error";
      pair.#receives.flush();
    }
    return failure;
  }

  #isReady(connection: object): boolean {
    return this.#state === "ready" && this.#end?.connection === connection;
  }

  /** How a request of that connection ends where it is over, here or at the peer. */
  #whyOver({ peer, connection }: End): Outcome | undefined {
    if (!this.#isReady(connection)) return FLUSHED;
    return peer.#isReady(connection) ? undefined : NO_ANSWER;
  }

  #complete(opcode: WcOpcode, { status, bytes, detail }: Outcome): WorkCompletion {
    const { events, name } = this.pd.device;
    events?.emit({ type: "rdma-completion", device: name, qp: this.number, opcode, status });
    return { opcode, status, qp: this.number, bytes, detail };
  }
}

function localFailure(result: DmaResult & { readonly ok: false }, at: number): Outcome {
  const status = result.why === "protection" ? "local-protection-error" : "local-operation-error";
  return { status, bytes: at, detail: result.detail };
}

function remoteFailure(result: DmaResult & { readonly ok: false }, at: number): Outcome {
  const status = result.why === "protection" ? "remote-access-error" : "remote-operation-error";
  return { status, bytes: at + result.moved, detail: result.detail };
}
