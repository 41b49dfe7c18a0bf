import {
  DmaBufError,
  type ObjectWatch,
  type Scheduler,
  type WaitOptions,
  waitFor,
} from "@peerbar/core";

/**
 * Registration of a device with VFIO: the open file and every live buffer hold a reference, and unregistering waits for all of them
 * (vfio-pci-dmabuf R30).
 */
export class Registration {
  readonly #name: string;
  readonly #scheduler: Scheduler;
  readonly #watch: ObjectWatch | undefined;
  #references = 0;
  #leaving = false;
  readonly #waiting = new Set<() => void>();

  constructor(name: string, scheduler: Scheduler) {
    this.#name = name;
    this.#scheduler = scheduler;
    this.#watch = scheduler.watch?.object(`${name} registration`);
  }

  get references(): number {
    this.#watch?.touch(false);
    return this.#references;
  }

  /** True once unregistering has begun. */
  get leaving(): boolean {
    this.#watch?.touch(false);
    return this.#leaving;
  }

  /** @throws DmaBufError ENODEV while the device is being unregistered (vfio-pci-dmabuf V21). */
  get(syscall: string): void {
    this.#watch?.touch(true);
    if (this.#leaving) {
      throw new DmaBufError("ENODEV", syscall, `${this.#name} is being unregistered`, {
        hint: "bind the function to vfio-pci again and open it anew",
        rule: "vfio-pci-dmabuf V21",
      });
    }
    this.#references += 1;
  }

  put(): void {
    this.#watch?.touch(true);
    this.#references -= 1;
    if (this.#references > 0) return;
    for (const wake of this.#waiting) wake();
    this.#waiting.clear();
  }

  /** Refuses new references, then waits for the last one. An aborted wait leaves the refusal standing; calling again waits again. */
  async leave(options?: WaitOptions): Promise<void> {
    this.#watch?.touch(true);
    this.#leaving = true;
    if (this.#references === 0) return;
    const point = { kind: "drain", on: `${this.#name} registration` } as const;
    await waitFor(this.#scheduler, point, options, "vfio.unregister", (wake) => {
      this.#waiting.add(wake);
      return () => {
        this.#waiting.delete(wake);
      };
    });
  }
}
