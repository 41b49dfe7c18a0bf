import type { Stage } from "@peerbar/conformance/explore";
import {
  busAddr,
  type DmaAddr,
  type DmaBuf,
  type DmaCompletion,
  type DmaDevice,
  type DmaEngine,
  fromPfn,
  type IommuPort,
  iova,
  isDmaBufError,
  PAGE_SIZE,
  type PciBar,
  type PciFunction,
  type PciPowerState,
  physAddr,
  toPfn,
} from "@peerbar/core";
import { MockIommu } from "@peerbar/iommu-mock";
import { VfioPci, type VfioPciDevice } from "@peerbar/vfio-pci";

const GPU = "0000:3b:00.0";
const NIC = "0000:3c:00.0";
const MASK = (1n << 64n) - 1n;
const BAR_START = 0x38_0000_0000n;
const BAR_BYTES = 0x1_0000n;
/** Command register, and its memory-enable bit. */
const COMMAND = 4;
const MEMORY = 2;

/** The part of the BAR that the scenarios share. */
export const SHARED_BYTES = BigInt(PAGE_SIZE);

/** A function with one BAR, which answers unless it is in reset or its memory decode is off. */
class Gpu implements PciFunction {
  readonly name = GPU;
  readonly pciAddress = GPU;
  readonly isVirtual = false;
  readonly powerState: PciPowerState = 0;
  readonly dmaMask = MASK;
  readonly bars: readonly PciBar[] = [
    {
      index: 0,
      kind: "memory",
      start: physAddr(BAR_START),
      busStart: busAddr(BAR_START),
      length: BAR_BYTES,
    },
  ];
  readonly #stage: Stage;
  readonly #config = new Uint8Array(256);
  #inReset = false;

  constructor(stage: Stage) {
    this.#stage = stage;
  }

  /** Whether a request on the wires reaches memory now. */
  get answers(): boolean {
    this.#stage.touch("BAR", false);
    return !this.#inReset && ((this.#config[COMMAND] ?? 0) & MEMORY) !== 0;
  }

  readConfig(offset: number, size: 1 | 2 | 4): number {
    this.#stage.touch("BAR", false);
    let value = 0;
    for (let i = 0; i < size; i++) value += (this.#config[offset + i] ?? 0) * 2 ** (8 * i);
    return value;
  }

  writeConfig(offset: number, size: 1 | 2 | 4, value: number): void {
    this.#stage.touch("BAR");
    for (let i = 0; i < size; i++) this.#config[offset + i] = (value >>> (8 * i)) & 0xff;
  }

  async reset(): Promise<void> {
    this.#stage.touch("BAR");
    this.#inReset = true;
    await this.#stage.scheduler.yield({ kind: "latency", on: "function-level reset" });
    this.#stage.touch("BAR");
    this.#inReset = false;
  }
}

/** A DMA engine behind an IOMMU whose requests are on the wires for a while. What arrives at a BAR that does not answer is a failure. */
class Wires implements DmaEngine {
  readonly #stage: Stage;
  readonly #gpu: Gpu;
  readonly #port: IommuPort;
  readonly #out = { pfn: 0 };

  constructor(stage: Stage, gpu: Gpu, port: IommuPort) {
    this.#stage = stage;
    this.#gpu = gpu;
    this.#port = port;
  }

  write(address: DmaAddr, bytes: Uint8Array): Promise<DmaCompletion> {
    return this.#request(address, bytes.length, true);
  }

  read(address: DmaAddr, into: Uint8Array): Promise<DmaCompletion> {
    return this.#request(address, into.length, false);
  }

  async #request(address: DmaAddr, length: number, writes: boolean): Promise<DmaCompletion> {
    if (this.#port.translate(toPfn(address), 1, writes, this.#out) === 0) {
      return { status: "iommu-fault", transferred: 0, at: iova(address) };
    }
    const target = fromPfn(this.#out.pfn) + (address & 0xfffn);
    await this.#stage.pause("on the wires");
    if (target < BAR_START || target >= BAR_START + BAR_BYTES) {
      this.#stage.fail(`DMA reached 0x${target.toString(16)}, which is not the BAR`);
    } else if (!this.#gpu.answers) this.#stage.fail("DMA reached the BAR while it does not answer");
    return { status: "ok", transferred: length, at: undefined };
  }
}

/** A GPU opened through vfio-pci with one shared page, and a NIC behind an IOMMU. */
export interface Machine {
  readonly gpu: VfioPciDevice;
  readonly buffer: DmaBuf;
  readonly nic: DmaDevice;
  readonly iommu: MockIommu;
}

/** Builds it for one run, watched by the sanitizer. Nothing may be left of it when all actors have ended. */
export async function buildMachine(stage: Stage): Promise<Machine> {
  const { scheduler, events } = stage;
  const fn = new Gpu(stage);
  const p2pdma = { mapType: () => "thru-host-bridge" as const };
  const gpu = await new VfioPci({ p2pdma, scheduler, events }).open(fn);
  const buffer = await gpu.exportDmaBuf({
    bar: 0,
    ranges: [{ offset: 0n, length: SHARED_BYTES }],
    name: "bar0",
  });
  stage.sanitizer.buffer(buffer);
  const iommu = new MockIommu({ scheduler });
  const port = iommu.connect({ name: NIC, isPci: true, dmaMask: MASK, reserved: [] });
  const engine = new Wires(stage, fn, port);
  const nic: DmaDevice = { name: NIC, pciAddress: NIC, dmaMask: MASK, dma: port.dma, engine };
  stage.check(() => {
    const left = [...buffer.attachments].map(({ name }) => name);
    if (left.length > 0) throw new Error(`still attached: ${left.join(", ")}`);
    if (gpu.draining.length > 0) throw new Error("a revoke is not complete");
    if (buffer.references !== 1) throw new Error(`${buffer.references} references are left`);
  });
  return { gpu, buffer, nic, iommu };
}

/** What a reset, a close or memory off may do to an importer: the exporter refuses, or took the memory back meanwhile. */
export async function unlessRevoked(work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!isDmaBufError(error) || !["ENODEV", "EINVAL", "EBADF"].includes(error.code)) throw error;
  }
}

/** Memory decode off and on again, as a guest's driver does it. */
export async function memoryOffAndOn(gpu: VfioPciDevice): Promise<void> {
  await gpu.writeConfig(COMMAND, 2, 0);
  await gpu.writeConfig(COMMAND, 2, MEMORY);
}
