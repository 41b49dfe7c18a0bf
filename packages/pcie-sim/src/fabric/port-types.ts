import type { PciFunctionInfo, PortType } from "@peerbar/p2pdma";

type Resolved = PortType | "none";

/**
 * Port types, guessed for bridges whose PCI Express capability the input does not show: on a root bus a root port, below a root or
 * downstream port an upstream port if bridges are behind it, below an upstream port a downstream port, else a conventional bridge.
 */
export function resolvePortTypes(functions: readonly PciFunctionInfo[]): {
  readonly types: readonly Resolved[];
  readonly guessed: readonly string[];
} {
  const types: (Resolved | undefined)[] = functions.map((info) => info.portType);
  const guessed: string[] = [];
  const hasBridges = new Set<number>();
  for (const info of functions) if (isBridge(info)) hasBridges.add(info.parent);
  const resolve = (index: number): Resolved => {
    const known = types[index];
    if (known !== undefined) return known;
    const info = functions[index];
    if (info === undefined) return "none";
    const type = isBridge(info)
      ? guessBridge(
          functions[info.parent] ? resolve(info.parent) : undefined,
          hasBridges.has(index),
        )
      : functions[info.parent] === undefined
        ? "rc-integrated-endpoint"
        : "endpoint";
    if (isBridge(info)) guessed.push(info.address);
    types[index] = type;
    return type;
  };
  return { types: functions.map((_, index) => resolve(index)), guessed };
}

function isBridge(info: PciFunctionInfo): boolean {
  return info.headerType === 1 || info.busNumbers !== undefined;
}

function guessBridge(above: Resolved | undefined, bridgesBehind: boolean): Resolved {
  if (above === undefined) return "root-port";
  if (above === "switch-upstream") return "switch-downstream";
  if (above !== "root-port" && above !== "switch-downstream") return "none";
  return bridgesBehind ? "switch-upstream" : "pcie-to-pci";
}
