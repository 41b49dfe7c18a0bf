import type { ConfigBytes } from "./config-space.js";
import type { PciFunctionInfo } from "./topology.js";

/** Capabilities that a walk looks at before it gives up on a loop (p2pdma R31; drivers/pci/pci.h PCI_FIND_CAP_TTL). */
const STANDARD_TTL = 48;
const EXTENDED_TTL = 480;

const PCI_EXPRESS = 0x10;

/** Where the PCI Express capability is; without one, `none` says whether that is certain ("none") or not shown (undefined). */
export interface ExpressCapability {
  readonly offset: number | undefined;
  readonly none: "none" | undefined;
}

/** Looks for the PCI Express capability. */
export function walkCapabilities(
  config: ConfigBytes,
  headerType: PciFunctionInfo["headerType"],
): ExpressCapability {
  const absent: ExpressCapability = { offset: undefined, none: "none" };
  const unseen: ExpressCapability = { offset: undefined, none: undefined };
  const status = config.u16(6);
  if (status === undefined || headerType === undefined) return unseen;
  if ((status & 0x10) === 0) return absent;
  let at = config.u8(headerType === 2 ? 0x14 : 0x34);
  for (let ttl = STANDARD_TTL; ttl > 0; ttl -= 1) {
    if (at === undefined) return unseen;
    at &= ~3;
    if (at < 0x40) return absent;
    const id = config.u8(at);
    if (id === undefined) return unseen;
    if (id === 0xff) return absent;
    if (id === PCI_EXPRESS) return { offset: at, none: undefined };
    at = config.u8(at + 1);
  }
  return absent;
}

/** Offset of an extended capability; "none" when the list ends without it, "unseen" when the input does not show the list. */
export function findExtended(config: ConfigBytes, id: number): number | "none" | "unseen" {
  let at = 0x100;
  for (let ttl = EXTENDED_TTL; ttl > 0; ttl -= 1) {
    const header = config.u32(at);
    if (header === undefined) return "unseen";
    if (at === 0x100 && (header === 0 || header === 0xffff_ffff)) return "none";
    if ((header & 0xffff) === id) return at;
    at = (header >>> 20) & ~3;
    if (at < 0x100) return "none";
  }
  return "none";
}
