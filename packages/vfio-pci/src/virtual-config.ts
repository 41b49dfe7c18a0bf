import { DmaBufError, type PciFunction, type WaitOptions } from "@peerbar/core";
import { pciRegs as reg } from "@peerbar/p2pdma";
import type { Capabilities } from "./capabilities.js";
import { type ConfigAccess, chop, physicalValue, triggerOf } from "./config-write.js";
import { closedDevice, type MemoryGate } from "./memory-gate.js";

const FIRST_BAR = reg.PCI_BASE_ADDRESS_0;
const ROM = reg.PCI_ROM_ADDRESS;
const CONFIG_BYTES = 4096;

/**
 * Config space as vfio-pci shows it to its user. Most registers are the function's own; the I/O and memory bits of the command register,
 * the BARs, the power state and the two reset bits are not: vfio keeps them, and acts on them (vfio-pci-dmabuf, triggers).
 */
export class VirtualConfig {
  readonly #fn: PciFunction;
  readonly #capabilities: Capabilities;
  readonly #gate: MemoryGate;
  /** What the user wrote to the BAR registers and the ROM's: guests move and size BARs, the function's own stay where they are. */
  readonly #bars: BarRegisters;

  constructor(capabilities: Capabilities, gate: MemoryGate) {
    this.#fn = gate.fn;
    this.#capabilities = capabilities;
    this.#gate = gate;
    this.#bars = new BarRegisters(gate.fn);
  }

  read(offset: number, size: 1 | 2 | 4): number {
    checkAccess("vfio.readConfig", offset, size);
    let value = 0;
    for (const piece of chop(offset, size, 0)) {
      value += this.#read(piece) * 2 ** (8 * (piece.offset - offset));
    }
    return value;
  }

  async write(
    offset: number,
    size: 1 | 2 | 4,
    value: number,
    options: WaitOptions | undefined,
  ): Promise<void> {
    checkAccess("vfio.writeConfig", offset, size);
    for (const access of chop(offset, size, value)) {
      // A piece may have waited for the memory lock while the device was closed.
      if (this.#gate.phase === "closed") throw closedDevice(SYSCALL, this.#fn);
      await this.#write(access, options);
    }
  }

  #read({ offset, size }: ConfigAccess): number {
    if (isBarRegister(offset)) return this.#bars.read(offset, size);
    const value = this.#fn.readConfig(offset, size);
    return offset === reg.PCI_COMMAND ? this.#gate.state.virtualCommand(value) : value;
  }

  async #write(access: ConfigAccess, options: WaitOptions | undefined): Promise<void> {
    const trigger = triggerOf(this.#fn, this.#capabilities, access);
    if (trigger?.kind === "command") {
      await this.#writeCommand(access, trigger.memory, options);
      return;
    }
    this.#store(access);
    if (trigger === undefined) return;
    const gate = this.#gate;
    if (trigger.kind === "power") {
      const { state } = trigger;
      // vfio_lock_and_set_power_state
      await gate.exclusive(SYSCALL, `power-d${state}`, options, async () => {
        if (state >= 3) await gate.shut(options);
        gate.setPower(state);
        await gate.reopen(options);
      });
    } else {
      await gate.exclusive(SYSCALL, `flr-${trigger.by}`, options, async () => {
        await gate.shut(options);
        await gate.resetQuietly(options);
      });
    }
  }

  /** `vfio_basic_config_write` for an access at offset 4. A failing store leaves the buffers revoked (vfio-pci-dmabuf R27). */
  async #writeCommand(
    access: ConfigAccess,
    memory: boolean,
    options: WaitOptions | undefined,
  ): Promise<void> {
    const gate = this.#gate;
    await gate.exclusive(SYSCALL, memory ? "memory-on" : "memory-off", options, async () => {
      if (!memory) await gate.shut(options);
      this.#store(access);
      gate.state.noteCommand(access.value);
      await gate.reopen(options);
    });
  }

  #store(access: ConfigAccess): void {
    if (isBarRegister(access.offset)) {
      this.#bars.write(access);
      return;
    }
    const power = this.#fn.powerState & reg.PCI_PM_CTRL_STATE_MASK;
    const value = physicalValue(this.#capabilities, access, power);
    this.#fn.writeConfig(access.offset, access.size, value);
  }
}

const SYSCALL = "vfio.writeConfig";

/** BARs and the ROM address as the user writes and sizes them. */
class BarRegisters {
  readonly #values = new Uint32Array(7);
  readonly #masks = new Uint32Array(7);

  constructor(fn: PciFunction) {
    fn.bars.forEach((bar, i) => {
      if (bar === undefined || bar.length === 0n) return;
      const type = fn.readConfig(FIRST_BAR + 4 * i, 1) & (bar.kind === "io" ? 0x3 : 0xf);
      const mask = -bar.length;
      this.#masks[i] = Number(BigInt.asUintN(32, mask));
      this.#values[i] = Number(BigInt.asUintN(32, bar.busStart)) | type;
      if (bar.kind !== "memory" || (type & 0x6) !== 0x4) return;
      this.#masks[i + 1] = Number(BigInt.asUintN(32, mask >> 32n));
      this.#values[i + 1] = Number(BigInt.asUintN(32, bar.busStart >> 32n));
    });
  }

  read(offset: number, size: number): number {
    const value = this.#values[registerOf(offset)] ?? 0;
    return Math.floor(value / 2 ** (8 * (offset % 4))) % 2 ** (8 * size);
  }

  /** Only the address bits above the length can be written, which is how software finds the length. */
  write({ offset, size, value }: ConfigAccess): void {
    const register = registerOf(offset);
    const shift = 8 * (offset % 4);
    const written = size === 4 ? 0xffff_ffff : (2 ** (8 * size) - 1) << shift;
    const mask = (this.#masks[register] ?? 0) & written;
    const old = this.#values[register] ?? 0;
    this.#values[register] = (old & ~mask) | ((value << shift) & mask);
  }
}

function registerOf(offset: number): number {
  return offset >= ROM ? 6 : (offset - FIRST_BAR) >> 2;
}

function isBarRegister(offset: number): boolean {
  return (offset >= FIRST_BAR && offset < FIRST_BAR + 24) || (offset >= ROM && offset < ROM + 4);
}

function checkAccess(syscall: string, offset: number, size: number): void {
  const inside = Number.isInteger(offset) && offset >= 0 && offset + size <= CONFIG_BYTES;
  if (inside && (size === 1 || size === 2 || size === 4)) return;
  throw new DmaBufError(
    "EINVAL",
    syscall,
    `${String(size)} bytes at ${String(offset)} are not in config space`,
    { hint: "read or write 1, 2 or 4 bytes below 0x1000" },
  );
}
