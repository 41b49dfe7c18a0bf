import { DmaBufError } from "@peerbar/core";
import type { PciFunctionInfo, PciTopology } from "@peerbar/p2pdma";
import { type ClassName, classNames, isOfClass } from "@peerbar/words";

export interface Selection {
  /** `gpu,nic,nvme`: any of them. */
  readonly class?: string | undefined;
  /** As in lspci: `[[[domain]:]bus]:][slot][.[function]]`, each part may be left out or `*`; or a device name. Several with commas. */
  readonly slot?: string | undefined;
  /** As in lspci: `[vendor]:[device][:class[:prog-if]]`. */
  readonly device?: string | undefined;
}

type Test = (fn: PciFunctionInfo) => boolean;

/** Whether any selector was given. */
export function isNarrowed(selection: Selection): boolean {
  return (
    selection.class !== undefined || selection.slot !== undefined || selection.device !== undefined
  );
}

/**
 * Endpoints that the selectors leave, in address order; all where there is none.
 *
 * @throws DmaBufError EINVAL for a class or selector that means nothing, ENODEV where nothing matches, or there are bridges only.
 */
export function select(topology: PciTopology, selection: Selection): readonly PciFunctionInfo[] {
  const tests = selectorTests(topology, selection);
  const chosen = topology.endpoints().filter((fn) => tests.every((test) => test(fn)));
  if (chosen.length === 0 && tests.length === 0) {
    throw new DmaBufError("ENODEV", "select", `${topology.source.name} has no endpoint`, {
      hint: "it lists bridges only: list the whole machine, with lspci -vvv as root",
    });
  }
  if (chosen.length === 0) {
    const given = [selection.slot, selection.device, selection.class].filter((text) => text);
    throw new DmaBufError(
      "ENODEV",
      "select",
      `no endpoint of ${topology.source.name} matches ${given.join(" ")}`,
      { hint: "widen -s, -d or --class; without them every endpoint is taken" },
    );
  }
  return chosen;
}

/** One test a kind of selector: a function has to pass them all. Errors as {@link select}. */
export function selectorTests(topology: PciTopology, selection: Selection): readonly Test[] {
  const tests: Test[] = [];
  if (selection.slot !== undefined) {
    const any = parts(selection.slot).map((text) => slotTest(topology, text));
    tests.push((fn) => any.some((test) => test(fn)));
  }
  if (selection.device !== undefined) {
    const any = parts(selection.device).map(idTest);
    tests.push((fn) => any.some((test) => test(fn)));
  }
  if (selection.class !== undefined) {
    const names = parts(selection.class).map(classOf);
    tests.push((fn) => names.some((name) => isOfClass(fn, name)));
  }
  return tests;
}

function parts(text: string): string[] {
  return text.split(",").map((part) => part.trim());
}

function classOf(text: string): ClassName {
  const name = classNames.find((candidate) => candidate === text);
  if (name !== undefined) return name;
  throw new DmaBufError("EINVAL", "--class", `no class "${text}"`, {
    hint: `use one or more of ${classNames.join(",")}`,
  });
}

function slotTest(topology: PciTopology, text: string): Test {
  const named = topology.functions.filter((fn) => fn.deviceNames.includes(text));
  if (named.length > 0) return (fn) => named.includes(fn);
  const match = /^(?:(?:([0-9a-f]*|\*):)?([0-9a-f]*|\*):)?([0-9a-f]*|\*)(?:\.([0-7]?|\*))?$/i.exec(
    text,
  );
  if (match === null || text === "") {
    throw new DmaBufError("EINVAL", "-s", `"${text}" is no selector and no device name here`, {
      hint: "write it as lspci takes it: [[domain]:bus:][slot][.function], such as 3b: or 3b:00.0",
    });
  }
  const [domain, bus, slot, fn] = match.slice(1).map(hexOrAny);
  return (info) =>
    (domain === undefined || info.domain === domain) &&
    (bus === undefined || info.bus === bus) &&
    (slot === undefined || info.slot === slot) &&
    (fn === undefined || info.fn === fn);
}

function idTest(text: string): Test {
  const match =
    /^([0-9a-f]{0,4}|\*):([0-9a-f]{0,4}|\*)(?::([0-9a-f]{0,4}|\*)(?::([0-9a-f]{0,2}|\*))?)?$/i.exec(
      text,
    );
  if (match === null) {
    throw new DmaBufError("EINVAL", "-d", `"${text}" is no ID selector`, {
      hint: "write it as lspci takes it: [vendor]:[device][:class[:prog-if]], such as 10de: or 15b3:101e or ::0302",
    });
  }
  const [vendor, device, code, interfaceCode] = match.slice(1).map(hexOrAny);
  return (fn) =>
    (vendor === undefined || fn.vendorId === vendor) &&
    (device === undefined || fn.deviceId === device) &&
    (code === undefined || (fn.classCode ?? -1) >>> 8 === code) &&
    (interfaceCode === undefined || ((fn.classCode ?? -1) & 0xff) === interfaceCode);
}

function hexOrAny(part: string | undefined): number | undefined {
  return part === undefined || part === "" || part === "*" ? undefined : Number.parseInt(part, 16);
}
