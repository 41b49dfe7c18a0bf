import { pciRegs as reg } from "./pci-regs.js";

/** Capabilities that a walk looks at before it gives up on a loop (p2pdma R31; drivers/pci/pci.h PCI_FIND_CAP_TTL). */
const STANDARD_TTL = 48;
const EXTENDED_TTL = 480;
/** Lists point behind the header; extended ones behind conventional configuration space. */
const HEADER_BYTES = 0x40;
const CONVENTIONAL_BYTES = 0x100;
const CARDBUS_HEADER = 2;

/** Configuration space that can be read: bytes of a capture, a function of the model, a device of this machine. */
export interface ConfigReader {
  /**
   * Little-endian unsigned value of `size` bytes at `offset`, in bytes; undefined where the input does not show them. A function that
   * does not answer reads all ones.
   */
  read(offset: number, size: 1 | 2 | 4): number | undefined;
}

/**
 * Where a capability begins, in bytes; "none" where its list ends without it, "unseen" where the input does not show so much of
 * configuration space, or a header whose layout nobody knows.
 */
export type CapabilityPlace = number | "none" | "unseen";

/** Looks for a capability by its identity, such as `pciRegs.PCI_CAP_ID_EXP` (`pci_find_capability`). */
export function findCapability(config: ConfigReader, id: number): CapabilityPlace {
  const status = config.read(reg.PCI_STATUS, 2);
  const header = config.read(reg.PCI_HEADER_TYPE, 1);
  if (status === undefined || header === undefined) return "unseen";
  if ((status & reg.PCI_STATUS_CAP_LIST) === 0) return "none";
  const layout = header & reg.PCI_HEADER_TYPE_MASK;
  if (layout > CARDBUS_HEADER) return "unseen";
  let at = config.read(
    layout === CARDBUS_HEADER ? reg.PCI_CB_CAPABILITY_LIST : reg.PCI_CAPABILITY_LIST,
    1,
  );
  for (let ttl = STANDARD_TTL; ttl > 0; ttl -= 1) {
    if (at === undefined) return "unseen";
    at &= ~3;
    if (at < HEADER_BYTES) return "none";
    const found = config.read(at, 1);
    if (found === undefined) return "unseen";
    if (found === 0xff) return "none";
    if (found === id) return at;
    at = config.read(at + 1, 1);
  }
  return "none";
}

/** Looks for an extended capability by its identity, such as `pciRegs.PCI_EXT_CAP_ID_ACS` (`pci_find_ext_capability`). */
export function findExtendedCapability(config: ConfigReader, id: number): CapabilityPlace {
  let at = CONVENTIONAL_BYTES;
  for (let ttl = EXTENDED_TTL; ttl > 0; ttl -= 1) {
    const header = config.read(at, 4);
    if (header === undefined) return "unseen";
    if (at === CONVENTIONAL_BYTES && (header === 0 || header === 0xffff_ffff)) return "none";
    if ((header & 0xffff) === id) return at;
    at = (header >>> 20) & ~3;
    if (at < CONVENTIONAL_BYTES) return "none";
  }
  return "none";
}
