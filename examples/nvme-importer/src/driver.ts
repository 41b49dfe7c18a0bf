import { busAddr, type DmaAddr, DmaBufError, type PhysAddr, physAddr } from "@peerbar/core";
import {
  adminOpcodes,
  encodeCommand,
  type Machine,
  type NvmeCommand,
  NvmeController,
  type SimFunction,
} from "@peerbar/pcie-sim";

const QUEUE_ENTRIES = 16;
/** Bytes of a submission and of a completion (NVMe base specification). */
const SUBMISSION_BYTES = 64;
const COMPLETION_BYTES = 16;
const PAGE = 4096n;

interface Queue {
  /** Where the processor finds the rings, and where the drive does. */
  readonly submissions: { readonly cpu: PhysAddr; readonly dma: DmaAddr };
  readonly completions: { readonly cpu: PhysAddr; readonly dma: DmaAddr };
  tail: number;
  head: number;
}

/** The host's side of an NVMe drive: queues in host memory, doorbells by the processor, one command at a time. */
export class NvmeDriver {
  readonly fn: SimFunction;
  readonly drive: NvmeController;
  readonly #machine: Machine;
  readonly #queues: Queue[] = [];
  #ids = 0;

  private constructor(machine: Machine, fn: SimFunction) {
    this.#machine = machine;
    this.fn = fn;
    this.drive = new NvmeController(fn, { blocks: 1 << 20 });
  }

  /** Enables the drive and makes one queue pair for reads and writes. */
  static async open(machine: Machine, fn: SimFunction): Promise<NvmeDriver> {
    const driver = new NvmeDriver(machine, fn);
    const admin = driver.#addQueue();
    driver.#set(0x24, ((QUEUE_ENTRIES - 1) << 16) | (QUEUE_ENTRIES - 1)); // AQA
    driver.#setAddress(0x28, admin.submissions.dma); // ASQ
    driver.#setAddress(0x30, admin.completions.dma); // ACQ
    driver.#set(0x14, 1); // CC.EN
    const io = driver.#addQueue();
    const size = ((QUEUE_ENTRIES - 1) << 16) | 1;
    const { createCompletionQueue, createSubmissionQueue } = adminOpcodes;
    await driver.#ok({ opcode: createCompletionQueue, prp1: io.completions.dma, dword10: size });
    await driver.#ok({
      opcode: createSubmissionQueue,
      prp1: io.submissions.dma,
      dword10: size,
      dword11: 1 << 16,
    });
    return driver;
  }

  /**
   * Runs one command on the queue for reads and writes.
   *
   * @returns its status: 0 for success, 4 where data could not be moved
   * @throws DmaBufError EIO where the drive gave no answer
   */
  run(command: Partial<NvmeCommand>): Promise<number> {
    return this.#run(1, command);
  }

  async #ok(command: Partial<NvmeCommand>): Promise<void> {
    const status = await this.#run(0, command);
    if (status !== 0) throw new DmaBufError("EIO", "nvme", `status ${status} to an admin command`);
  }

  async #run(id: number, command: Partial<NvmeCommand>): Promise<number> {
    const queue = this.#queues[id];
    if (queue === undefined) throw new DmaBufError("EINVAL", "nvme", `no queue ${id}`);
    this.#ids = (this.#ids + 1) & 0xffff;
    const { ram } = this.#machine;
    const slot = physAddr(queue.submissions.cpu + BigInt(queue.tail * SUBMISSION_BYTES));
    ram.poke(slot, encodeCommand({ ...command, id: this.#ids }));
    queue.tail = (queue.tail + 1) % QUEUE_ENTRIES;
    this.#set(0x1000 + 8 * id, queue.tail); // the doorbell
    await this.drive.idle();
    const at = (queue.head % QUEUE_ENTRIES) * COMPLETION_BYTES;
    const entry = ram.peek(physAddr(queue.completions.cpu + BigInt(at)), COMPLETION_BYTES);
    const word = new DataView(entry.buffer).getUint32(12, true);
    const phase = Math.floor(queue.head / QUEUE_ENTRIES) % 2 === 0 ? 1 : 0;
    if (((word >>> 16) & 1) !== phase || (word & 0xffff) !== this.#ids) {
      throw new DmaBufError("EIO", "nvme", "the drive gave no answer");
    }
    queue.head += 1;
    return word >>> 17;
  }

  #addQueue(): Queue {
    const ring = () => {
      const cpu = this.#machine.ram.allocate(Number(PAGE));
      const dma = this.fn.dma.mapPhys({ start: cpu, length: PAGE }, "bidirectional");
      return { cpu, dma };
    };
    const queue = { submissions: ring(), completions: ring(), tail: 0, head: 0 };
    this.#queues.push(queue);
    return queue;
  }

  #set(offset: number, value: number): void {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setUint32(0, value, true);
    this.#machine.cpu.write(physAddr(this.fn.bar(0).start + BigInt(offset)), bytes);
  }

  #setAddress(offset: number, address: DmaAddr): void {
    const value = busAddr(address);
    this.#set(offset, Number(value & 0xffff_ffffn));
    this.#set(offset + 4, Number(value >> 32n));
  }
}
