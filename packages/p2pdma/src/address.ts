import { hexDigits } from "./hex.js";

/** Domain, bus, device and function numbers of one PCI function. */
export interface PciAddress {
  /** PCI domain (segment), from 0; VMD domains are above 0xffff. */
  readonly domain: number;
  /** Bus, 0 to 255. */
  readonly bus: number;
  /** Device number on the bus, 0 to 31. */
  readonly slot: number;
  /** Function number, 0 to 7. */
  readonly fn: number;
}

const pattern = /^(?:([0-9a-f]{1,8}):)?([0-9a-f]{1,2}):([01]?[0-9a-f])\.([0-7])$/i;

/** Reads `03:00.0` (domain 0) or `0000:03:00.0`; undefined for anything else. */
export function parsePciAddress(text: string): PciAddress | undefined {
  const match = pattern.exec(text);
  if (match === null) return undefined;
  const [, domain = "0", bus = "", slot = "", fn = ""] = match;
  return {
    domain: Number.parseInt(domain, 16),
    bus: Number.parseInt(bus, 16),
    slot: Number.parseInt(slot, 16),
    fn: Number.parseInt(fn, 16),
  };
}

/** Looked up, not made: a matrix prints millions of addresses. */
const hex2 = Array.from({ length: 256 }, (_, n) => hexDigits(n, 2));

/** Two hexadecimal digits of a byte: bus numbers in addresses. */
function hexByte(value: number): string {
  return hex2[value & 0xff] ?? "00";
}

/** `0000:3b`: domain and bus, as sysfs names a root bus after `pci`. */
export function formatBus(domain: number, bus: number): string {
  return `${hexDigits(domain, 4)}:${hexByte(bus)}`;
}

/** One number for a bus of a domain, to look it up by. */
export function busKey(domain: number, bus: number): number {
  return domain * 0x100 + bus;
}

/** The full, lower-case form that every package prints: `0000:3b:00.0`. */
export function formatPciAddress(address: PciAddress): string {
  return `${formatBus(address.domain, address.bus)}:${hexByte(address.slot)}.${address.fn.toString()}`;
}

/** Bus number and devfn in one number: the requester ID (16 bits). */
export function routingId(bus: number, slot: number, fn: number): number {
  return (bus << 8) | (slot << 3) | fn;
}

/** Sort key of a function, unique in a machine: `(domain << 16) | (bus << 8) | devfn`, as p2pdma R20 (a double holds 32-bit domains). */
export function addressKey(address: PciAddress): number {
  return address.domain * 0x1_0000 + routingId(address.bus, address.slot, address.fn);
}
