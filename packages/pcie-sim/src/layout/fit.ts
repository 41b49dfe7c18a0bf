import { type BusSpan, contains, disjoint, FOUR_GIB, findGap, MIB, type Window } from "./layout.js";
import { type Item, isPlaced, type Plan, spanOfItem } from "./plan.js";

/**
 * Tries to keep what a function and everything below it shows: BARs inside the windows above them, windows inside windows, nothing twice.
 * Fills in windows and BARs that are not shown where there is room.
 *
 * @returns false where the subtree contradicts itself or is full: it is then placed anew as a whole.
 */
export function fitSubtree(plan: Plan, fn: number): boolean {
  for (const child of plan.children[fn] ?? []) if (!fitSubtree(plan, child)) return false;
  const below = plan.children[fn] ?? [];
  if (below.length === 0) {
    // Windows of a bridge with nothing behind it forward to nobody; they are kept unless they are in the way above.
    return true;
  }
  return coverChildren(plan, fn) && disjoint(claimsBelow(plan, fn)) && fillGaps(plan, fn);
}

/** What the functions on the bus behind a bridge answer to: their placed BARs, and the windows of bridges. */
function claimsBelow(plan: Plan, fn: number): BusSpan[] {
  return (plan.children[fn] ?? []).flatMap((child) => claimsOf(plan, child));
}

export function claimsOf(plan: Plan, fn: number): BusSpan[] {
  const bars = (plan.items[fn] ?? []).filter(isPlaced).map(spanOfItem);
  return [...bars, ...(plan.windows[fn] ?? [])];
}

/** True where a BAR that has a size is at or below a function. */
export function hasBars(plan: Plan, fn: number): boolean {
  if ((plan.items[fn] ?? []).length > 0) return true;
  return (plan.children[fn] ?? []).some((child) => hasBars(plan, child));
}

/** Widens a bridge by the windows it does not show, and sets free what lies outside of those it shows. */
function coverChildren(plan: Plan, bridge: number): boolean {
  const windows = plan.windows[bridge] ?? [];
  const missing: { memory: BusSpan[]; prefetchable: BusSpan[] } = { memory: [], prefetchable: [] };
  const shown = new Set(windows.map((window) => window.kind));
  const admit = (span: BusSpan): boolean => {
    if (windows.some((window) => contains(window, span))) return true;
    if (span.last < FOUR_GIB && !shown.has("memory")) missing.memory.push(span);
    else if (!shown.has("prefetchable")) missing.prefetchable.push(span);
    else return false;
    return true;
  };
  for (const child of plan.children[bridge] ?? []) {
    for (const item of (plan.items[child] ?? []).filter(isPlaced)) {
      if (!admit(spanOfItem(item))) (item as Item).bus = undefined;
    }
    if (!admitWindows(plan, child, admit)) return false;
  }
  for (const kind of ["memory", "prefetchable"] as const) {
    const window = hull(kind, missing[kind]);
    if (window !== undefined) windows.push(window);
  }
  return disjoint(windows);
}

function admitWindows(plan: Plan, child: number, admit: (span: BusSpan) => boolean): boolean {
  const windows = plan.windows[child] ?? [];
  const useful = hasBars(plan, child);
  const kept = windows.filter((window) => (useful ? true : admit(window)));
  windows.splice(0, windows.length, ...kept);
  return !useful || windows.every(admit);
}

function hull(kind: Window["kind"], spans: readonly BusSpan[]): Window | undefined {
  const [one] = spans;
  if (one === undefined) return undefined;
  let { first, last } = one;
  for (const span of spans) {
    if (span.first < first) first = span.first;
    if (span.last > last) last = span.last;
  }
  return { kind, first: first & ~(MIB - 1n), last: last | (MIB - 1n) };
}

/** Places what is left into the windows of the bridge right above. */
function fillGaps(plan: Plan, bridge: number): boolean {
  const windows = plan.windows[bridge] ?? [];
  const taken = claimsBelow(plan, bridge);
  const left = (plan.children[bridge] ?? [])
    .flatMap((child) => plan.items[child] ?? [])
    .filter((item) => !isPlaced(item));
  for (const item of left) {
    let place: bigint | undefined;
    for (const window of windows) {
      if (!fitsKind(item, window)) continue;
      place ??= findGap(window, taken, item.length, item.align);
    }
    if (place === undefined) return false;
    item.bus = place;
    taken.push({ first: place, last: place + item.length - 1n });
  }
  return true;
}

/** A 32-bit BAR cannot be above 4 GiB, and reads of ordinary registers must not pass a prefetchable window. */
function fitsKind(item: Item, window: Window): boolean {
  if (!item.info.is64Bit && window.last >= FOUR_GIB) return false;
  return window.kind === "memory" || item.info.prefetchable;
}
