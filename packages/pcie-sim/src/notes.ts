import type { MachineNote, MachineTopology } from "./layout/layout.js";

/** What the topology does not show of capabilities, and what the machine makes of it. */
export function capabilityNotes(
  { functions }: MachineTopology,
  guessed: readonly string[],
): MachineNote[] {
  const notes: MachineNote[] = [];
  const add = (kind: MachineNote["kind"], text: string, list: readonly string[]): void => {
    if (list.length > 0) notes.push({ kind, text, functions: list });
  };
  add(
    "acs-unknown",
    "The topology does not show the ACS state of these functions; the machine gives them no ACS, which counts as off.",
    functions.filter(({ acs }) => acs.state === "unknown").map(({ address }) => address),
  );
  add(
    "acs-capability-unknown",
    "The topology shows ACS control but not the capability; the machine lets SV, TB, RR, CR and UF be set.",
    functions
      .filter(({ acs }) => acs.state === "present" && acs.capability === undefined)
      .map(({ address }) => address),
  );
  add(
    "egress-vector-unknown",
    "ACS egress control is on and no topology shows the vector; the machine takes all ones: no peer is reached directly.",
    functions
      .filter(({ acs }) => acs.state === "present" && (acs.control & 0x20) !== 0)
      .map(({ address }) => address),
  );
  add(
    "port-type-guessed",
    "The topology does not show the port type of these bridges; it was told from where they are.",
    guessed,
  );
  add(
    "bridge-missing",
    "A bridge right above these functions is not in the topology; the machine puts them on the bus of the next one that is.",
    functions.filter(({ hiddenUpstream }) => hiddenUpstream).map(({ address }) => address),
  );
  return notes;
}
