import { type DmaBuf, type Iova, PAGE_BYTES } from "@peerbar/core";
import type { Ioas, IoasMapping } from "@peerbar/iommufd";
import type { VfioPciDevice } from "@peerbar/vfio-pci";

/** Command register of a PCI function, and its memory space bit. */
const COMMAND = 4;
const MEMORY = 2;

/** One BAR as the guest has it: at the guest physical address that the guest's firmware chose. */
export interface GuestBar {
  readonly bar: number;
  /** IOVA for the guest's devices is its physical address. */
  readonly at: Iova;
  /** Bytes, whole pages. */
  readonly length: bigint;
}

/** What the guest did that a VMM has to act on. */
export type GuestAction =
  | {
      readonly kind: "config";
      readonly offset: number;
      readonly size: 1 | 2 | 4;
      readonly value: number;
    }
  | { readonly kind: "reset" }
  | { readonly kind: "unplug" };

interface Window {
  readonly guest: GuestBar;
  readonly buffer: DmaBuf;
  mapping: IoasMapping | undefined;
}

/**
 * A device given to a guest, whose BARs the guest's other devices reach by DMA.
 *
 * Each BAR is a dma-buf in the guest's address space. Whatever stops memory decode (a reset, a write to the command register, low power)
 * makes vfio-pci revoke the buffers: the translations are gone at once, the IOVAs stay taken, and DMA of peers faults. iommufd never maps
 * again by itself, so the VMM does, as soon as the memory is back. That is {@link follow}.
 */
export class PassthroughDevice {
  readonly #device: VfioPciDevice;
  readonly #ioas: Ioas;
  readonly #windows: Window[] = [];

  private constructor(device: VfioPciDevice, ioas: Ioas) {
    this.#device = device;
    this.#ioas = ioas;
  }

  /** Exports and maps every BAR. @throws DmaBufError what vfio-pci or iommufd refuse; nothing is left then. */
  static async open(
    device: VfioPciDevice,
    ioas: Ioas,
    bars: readonly GuestBar[],
  ): Promise<PassthroughDevice> {
    const self = new PassthroughDevice(device, ioas);
    try {
      for (const guest of bars) {
        const range = { offset: 0n, length: guest.length - (guest.length % PAGE_BYTES) };
        const buffer = await device.exportDmaBuf({ bar: guest.bar, ranges: [range] });
        self.#windows.push({ guest, buffer, mapping: undefined });
      }
      await self.follow();
      return self;
    } catch (error) {
      await self.close();
      throw error;
    }
  }

  /** BARs that peers reach now. */
  get mapped(): readonly number[] {
    return this.#windows
      .filter(({ mapping }) => mapping !== undefined && !mapping.revoked)
      .map(({ guest }) => guest.bar);
  }

  /** Does what the guest asked for, then follows. False once the device is gone. */
  async act(action: GuestAction): Promise<boolean> {
    switch (action.kind) {
      case "config":
        await this.#device.writeConfig(action.offset, action.size, action.value);
        break;
      case "reset":
        await this.#device.reset();
        break;
      case "unplug":
        await this.close();
        return false;
    }
    await this.follow();
    return true;
  }

  /** Lets go of mappings that a revoke has emptied, and maps them again where the memory decodes. Harmless at any time. */
  async follow(): Promise<void> {
    for (const window of this.#windows) {
      if (window.mapping?.revoked === true) {
        const dead = window.mapping;
        window.mapping = undefined;
        await dead.unmap(); // frees the IOVA
      }
      if (window.mapping === undefined && this.#memoryOn()) {
        const { guest, buffer } = window;
        const slice = { offset: 0n, length: buffer.size };
        window.mapping = await this.#ioas.mapDmaBuf(buffer, {
          slice,
          iova: guest.at,
          access: "rw",
        });
      }
    }
  }

  /** Unmaps everything, drops the buffers and closes the device. */
  async close(): Promise<void> {
    for (const { mapping, buffer } of this.#windows.splice(0)) {
      await mapping?.unmap();
      buffer.close();
    }
    await this.#device.close();
  }

  #memoryOn(): boolean {
    return this.#device.memoryEnabled && (this.#device.readConfig(COMMAND, 2) & MEMORY) !== 0;
  }
}

/** The loop itself: until the guest unplugs the device, or says no more. */
export async function serve(
  device: PassthroughDevice,
  guest: AsyncIterable<GuestAction> | Iterable<GuestAction>,
): Promise<void> {
  for await (const action of guest) if (!(await device.act(action))) return;
}
