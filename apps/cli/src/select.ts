import { DmaBufError } from "@peerbar/core";
import type { PciFunctionInfo, PciTopology } from "@peerbar/p2pdma";

/** Device classes by the names people use, as tests on the 24-bit class code. */
const classes = {
  gpu: (code: number) => code >>> 16 === 0x03 || code >>> 16 === 0x12,
  nic: (code: number) => code >>> 16 === 0x02,
  nvme: (code: number) => code >>> 8 === 0x0108,
  storage: (code: number) => code >>> 16 === 0x01,
  bridge: (code: number) => code >>> 16 === 0x06,
} as const;
type ClassName = keyof typeof classes;

/** Names accepted by `--class`. */
export const classNames = Object.keys(classes) as readonly ClassName[];

/** Whether a function is of a class; false where the input does not show its class code. */
export function isOfClass(fn: PciFunctionInfo, name: ClassName): boolean {
  return fn.classCode !== undefined && classes[name](fn.classCode);
}

export interface Selection {
  /** `gpu,nic,nvme`: any of them. */
  readonly class?: string | undefined;
  /** As in lspci: `[[[domain]:]bus]:][slot][.[function]]`; each part may be left out or `*`. */
  readonly slot?: string | undefined;
}

/**
 * Endpoints that the selectors leave, in address order; all where there is none.
 *
 * @throws DmaBufError EINVAL for a class or selector that means nothing, ENODEV where nothing matches.
 */
export function select(topology: PciTopology, selection: Selection): readonly PciFunctionInfo[] {
  const names = selection.class?.split(",").map((name) => name.trim());
  const unknown = names?.find((name) => !(name in classes));
  if (unknown !== undefined) {
    throw new DmaBufError("EINVAL", "--class", `no class "${unknown}"`, {
      hint: `use one or more of ${classNames.join(",")}`,
    });
  }
  const fits = selection.slot === undefined ? () => true : slotFilter(selection.slot);
  const chosen = topology
    .endpoints()
    .filter((fn) => fits(fn) && (names?.some((name) => isOfClass(fn, name as ClassName)) ?? true));
  if (chosen.length === 0) {
    throw new DmaBufError("ENODEV", "select", `no endpoint of ${topology.source.name} matches`, {
      hint: "widen -s or --class; without them every endpoint is taken",
    });
  }
  return chosen;
}

function slotFilter(text: string): (fn: PciFunctionInfo) => boolean {
  const match = /^(?:(?:([0-9a-f]*|\*):)?([0-9a-f]*|\*):)?([0-9a-f]*|\*)(?:\.([0-7]?|\*))?$/i.exec(
    text,
  );
  if (match === null) {
    throw new DmaBufError("EINVAL", "-s", `"${text}" is no selector`, {
      hint: "write it as lspci takes it: [[domain]:bus:][slot][.function], such as 3b: or 3b:00.0",
    });
  }
  const [domain, bus, slot, fn] = match
    .slice(1)
    .map((part: string | undefined) =>
      part === undefined || part === "" || part === "*" ? undefined : Number.parseInt(part, 16),
    );
  return (info) =>
    (domain === undefined || info.domain === domain) &&
    (bus === undefined || info.bus === bus) &&
    (slot === undefined || info.slot === slot) &&
    (fn === undefined || info.fn === fn);
}
