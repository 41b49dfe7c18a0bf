import { DmaBufError } from "@peerbar/core";
import type { TopologyEdit } from "@peerbar/p2pdma";

/** What `what-if` is asked to change, as it was typed. */
export interface EditOptions {
  readonly acs?: readonly string[] | undefined;
  readonly trustHostBridge?: boolean | undefined;
  readonly iommu?: string | undefined;
  readonly move?: readonly string[] | undefined;
}

/**
 * The edits of a command line, in the order in which they are made: moves, IOMMU mode, single ACS registers, trust.
 *
 * @throws DmaBufError EINVAL for text that is no edit, and where there is none
 */
export function parseEdits(options: EditOptions): TopologyEdit[] {
  const edits: TopologyEdit[] = [
    ...split(options.move).map(parseMove),
    ...(options.iommu === undefined ? [] : [parseIommu(options.iommu)]),
    ...split(options.acs).map(parseAcs),
  ];
  if (options.trustHostBridge === true) edits.push({ kind: "trust-host-bridge" });
  if (edits.length > 0) return edits;
  throw new DmaBufError("EINVAL", "what-if", "nothing is to be changed", {
    hint: "give --acs BDF=off, --trust-host-bridge, --iommu off|pt|on or --move BDF=PORT",
  });
}

function split(texts: readonly string[] | undefined): string[] {
  return (texts ?? []).flatMap((text) => text.split(",")).map((text) => text.trim());
}

function sides(option: string, text: string, hint: string): readonly [string, string] {
  const [left, right, ...more] = text.split("=");
  if (left === undefined || right === undefined || left === "" || right === "" || more.length > 0) {
    throw new DmaBufError("EINVAL", option, `"${text}" is no edit`, { hint });
  }
  return [left, right];
}

function parseMove(text: string): TopologyEdit {
  const hint = "write BDF=PORT: PORT is a root port or a switch's downstream port";
  const [device, port] = sides("--move", text, hint);
  return { kind: "move", device, port };
}

function parseAcs(text: string): TopologyEdit {
  const hint = "write BDF=off, BDF=on or BDF=0x1d (the control register)";
  const [at, value] = sides("--acs", text, hint);
  if (value === "off" || value === "on") return { kind: "acs", at, control: value };
  if (!/^(?:0x[0-9a-f]{1,4}|\d{1,5})$/i.test(value) || Number(value) > 0xffff) {
    throw new DmaBufError("EINVAL", "--acs", `"${value}" is neither off nor on nor 16 bits`, {
      hint,
    });
  }
  return { kind: "acs", at, control: Number(value) };
}

function parseIommu(text: string): TopologyEdit {
  if (text === "off" || text === "on") return { kind: "iommu", mode: text };
  if (text === "pt") return { kind: "iommu", mode: "passthrough" };
  throw new DmaBufError("EINVAL", "--iommu", `no IOMMU mode "${text}"`, {
    hint: "use off, pt (identity domains) or on (translating domains)",
  });
}
