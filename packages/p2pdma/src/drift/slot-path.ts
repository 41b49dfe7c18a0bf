import { formatBus } from "../address.js";
import { hexDigits } from "../hex.js";
import type { PciTopology } from "../pci-topology.js";
import type { PciFunctionInfo } from "../topology.js";

/**
 * Where each function sits, by slots alone: `0000:16/01.0/00.0/02.0`. Root buses keep their numbers; below them firmware numbers buses
 * as it finds them, so that one missing card moves the addresses of all that follow, but no slot path.
 */
export function slotPaths(topology: PciTopology): readonly string[] {
  const paths: (string | undefined)[] = topology.functions.map(() => undefined);
  const pathOf = (index: number): string => {
    const known = paths[index];
    const fn = topology.functions[index];
    if (known !== undefined || fn === undefined) return known ?? "";
    // Parents are bridges and form a tree (assemble), so this ends.
    const above = fn.parent >= 0 ? pathOf(fn.parent) : rootOf(topology, fn);
    const path = `${above}/${hiddenBus(topology, fn)}${slot(fn)}`;
    paths[index] = path;
    return path;
  };
  return topology.functions.map((_, index) => pathOf(index));
}

function rootOf(topology: PciTopology, fn: PciFunctionInfo): string {
  const host = topology.hostBridges[fn.hostBridge];
  return formatBus(fn.domain, host?.bus ?? fn.bus);
}

/** The bus, where a bridge between a function and what stands above it is not in the input, or where a VF left its PF's bus. */
function hiddenBus(topology: PciTopology, fn: PciFunctionInfo): string {
  const above = topology.functions[fn.parent]?.busNumbers?.secondary;
  const expected = fn.parent >= 0 ? above : topology.hostBridges[fn.hostBridge]?.bus;
  return expected === undefined || expected === fn.bus ? "" : `${hexDigits(fn.bus, 2)}:`;
}

function slot(fn: PciFunctionInfo): string {
  return `${hexDigits(fn.slot, 2)}.${fn.fn.toString()}`;
}
