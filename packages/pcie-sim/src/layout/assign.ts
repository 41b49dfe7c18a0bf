import { claimsOf, fitSubtree, hasBars } from "./fit.js";
import {
  type Aperture,
  type BarLengths,
  type BusSpan,
  type Layout,
  type MachineNote,
  type MachineTopology,
  MIB,
  overlaps,
  type PlacedBar,
  sortSpans,
} from "./layout.js";
import { type Occupied, occupy, placeOwnBars, placeSubtree } from "./place.js";
import { busOffset, type Item, isPlaced, makePlan, type Plan, spanOfItem } from "./plan.js";

/**
 * Gives every memory BAR, bridge window and host bridge aperture its addresses. What the topology shows is kept where it is consistent;
 * gaps are filled, and what contradicts itself is placed anew, deterministically.
 */
export function assignAddresses(topology: MachineTopology, lengths?: BarLengths): Layout {
  const plan = makePlan(topology, lengths);
  const shown = plan.items.map((items) => items.map((item) => item.bus));
  const occupied: Occupied = { cpu: [], bus: plan.roots.map(() => []) };
  const lost = [...keepOrPlace(plan, occupied)];
  const apertures = makeApertures(plan);
  return {
    bars: plan.items.map((items) => items.filter(isPlaced).map((item) => placedBar(plan, item))),
    windows: plan.windows,
    apertures,
    reserved: plan.roots.map((roots) => reservedSpans(plan, roots)),
    notes: notesOf(plan, shown, lost),
  };
}

function keepOrPlace(plan: Plan, occupied: Occupied): Item[] {
  const anew: number[] = [];
  const kept: number[] = [];
  for (const [hostBridge, roots] of plan.roots.entries()) {
    for (const root of roots) {
      // A subtree also contradicts itself where it claims what an earlier one has.
      const fits =
        fitSubtree(plan, root) &&
        claimsOf(plan, root).every((span) => isFree(plan, hostBridge, span, occupied));
      if (!fits) {
        anew.push(root);
        continue;
      }
      kept.push(root);
      for (const span of claimsOf(plan, root)) occupy(plan, hostBridge, span, occupied);
    }
  }
  const lost = kept.flatMap((root) => placeOwnBars(plan, root, occupied));
  return [...lost, ...anew.flatMap((root) => placeSubtree(plan, root, occupied))];
}

function isFree(plan: Plan, hostBridge: number, span: BusSpan, occupied: Occupied): boolean {
  const offset = busOffset(plan.offsets[hostBridge], span.first);
  const cpu = { first: span.first - offset, last: span.last - offset };
  return (
    !occupied.cpu.some((other) => overlaps(cpu, other)) &&
    !(occupied.bus[hostBridge] ?? []).some((other) => overlaps(span, other))
  );
}

function placedBar(plan: Plan, item: Item & { readonly bus: bigint }): PlacedBar {
  const { info, length, bus } = item;
  const offsets = plan.offsets[plan.functions[item.fn]?.hostBridge ?? -1];
  return {
    index: info.index,
    bus,
    cpu: bus - busOffset(offsets, bus),
    length,
    is64Bit: info.is64Bit,
    prefetchable: info.prefetchable,
  };
}

/** What root-bus functions claim, as CPU addresses: windows with a BAR behind them, and their own BARs. */
function makeApertures(plan: Plan): Aperture[] {
  const apertures: Aperture[] = [];
  for (const [hostBridge, roots] of plan.roots.entries()) {
    for (const span of roots
      .filter((root) => hasBars(plan, root))
      .flatMap((root) => claimsOf(plan, root))) {
      const offset = busOffset(plan.offsets[hostBridge], span.first);
      apertures.push({
        hostBridge,
        cpu: span.first - offset,
        length: span.last - span.first + 1n,
        busOffset: offset,
      });
    }
  }
  return apertures.sort((a, b) => (a.cpu < b.cpu ? -1 : a.cpu > b.cpu ? 1 : 0));
}

/** The stretches behind one host bridge in whole megabytes; neighbours are joined. */
function reservedSpans(plan: Plan, roots: readonly number[]): BusSpan[] {
  const joined: { first: bigint; last: bigint }[] = [];
  for (const span of sortSpans(roots.flatMap((root) => claimsOf(plan, root)))) {
    const first = span.first & ~(MIB - 1n);
    const last = span.last | (MIB - 1n);
    const before = joined.at(-1);
    if (before !== undefined && first <= before.last + 1n) {
      if (last > before.last) before.last = last;
    } else joined.push({ first, last });
  }
  return joined;
}

function notesOf(
  plan: Plan,
  shown: readonly (readonly (bigint | undefined)[])[],
  lost: readonly Item[],
): MachineNote[] {
  const moved = new Set<string>();
  for (const [fn, items] of plan.items.entries()) {
    for (const [i, item] of items.entries()) {
      if (isPlaced(item) && item.bus !== shown[fn]?.[i])
        moved.add(plan.functions[fn]?.address ?? "");
      else if (isPlaced(item) && spanOfItem(item).first !== item.info.busStart) {
        moved.add(plan.functions[fn]?.address ?? "");
      }
    }
  }
  const notes: MachineNote[] = [];
  if (plan.sizeless.size > 0) {
    notes.push({
      kind: "bar-size-unknown",
      text: "The topology does not show how large these BARs are, so the machine does not have them.",
      functions: [...plan.sizeless],
    });
  }
  if (moved.size > 0) {
    notes.push({
      kind: "bar-moved",
      text: "BARs of these functions have addresses that the topology does not show, or contradicts.",
      functions: [...moved],
    });
  }
  if (lost.length > 0) {
    notes.push({
      kind: "bar-unassigned",
      text: "There is no address space left for BARs of these functions, so the machine does not have them.",
      functions: [...new Set(lost.map((item) => plan.functions[item.fn]?.address ?? ""))],
    });
  }
  return notes;
}
