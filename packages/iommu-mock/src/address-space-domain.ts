import type { IommuDomain } from "@peerbar/core";
import type { IoDomain } from "./io-domain.js";

/** A domain of an address space, with the devices attached to it. */
export class AddressSpaceDomain implements IommuDomain {
  readonly id: number;
  /** @internal */
  readonly io: IoDomain;
  /** Made by attach, gone with its last device; else it stays until freed. */
  readonly automatic: boolean;
  readonly #devices = new Set<string>();

  /** @internal */
  constructor(id: number, io: IoDomain, automatic: boolean) {
    this.id = id;
    this.io = io;
    this.automatic = automatic;
  }

  get devices(): readonly string[] {
    return [...this.#devices];
  }

  /** @internal */
  add(device: string): void {
    this.#devices.add(device);
  }

  /** @internal Devices left. */
  remove(device: string): number {
    this.#devices.delete(device);
    return this.#devices.size;
  }
}
