import { ACS_REDIRECT, type AcsInfo, acsBits, hexNumber } from "@peerbar/p2pdma";

/** The redirecting bits first: they decide (p2pdma R7). */
const order = ["RR", "CR", "EC", "SV", "UF", "TB", "DT"] as const;

const words = {
  RR: "peer requests redirected up",
  CR: "peer completions redirected up",
  EC: "egress control",
  SV: "source validation",
  UF: "upstream forwarding",
  TB: "translation blocking",
  DT: "direct translated requests pass",
} as const;

/** Names of the bits that are set, redirecting ones first; empty where there are none or they are not shown. */
function acsBitNames(acs: AcsInfo): (keyof typeof acsBits)[] {
  return acs.state === "present" ? order.filter((bit) => (acs.control & acsBits[bit]) !== 0) : [];
}

/** Short, for tables: `!RR,CR SV,UF`, `off`, `-` (no ACS), `?` (not shown). */
export function acsShort(acs: AcsInfo): string {
  if (acs.state === "none") return "-";
  if (acs.state === "unknown") return "?";
  const names = acsBitNames(acs);
  const redirecting = names.filter((bit) => (acsBits[bit] & ACS_REDIRECT) !== 0);
  const others = names.filter((bit) => (acsBits[bit] & ACS_REDIRECT) === 0);
  const parts = [redirecting.length === 0 ? "" : `!${redirecting.join(",")}`, others.join(",")];
  return names.length === 0 ? "off" : parts.filter((part) => part !== "").join(" ");
}

/** In words: `ACS redirects (RR: peer requests redirected up)`. */
export function acsWords(acs: AcsInfo): string {
  if (acs.state === "none") return "no ACS: peer requests pass";
  if (acs.state === "unknown") return `ACS not shown: ${acs.why}`;
  const names = acsBitNames(acs);
  const redirects = (acs.control & ACS_REDIRECT) !== 0;
  const list = names.map((bit) => `${bit} ${words[bit]}`).join(", ");
  if (redirects) return `ACS REDIRECTS: ${list}`;
  return names.length === 0 ? "ACS off: peer requests pass" : `ACS does not redirect: ${list}`;
}

/** ACS of one function in JSON: registers as hex strings. */
export function acsJson(acs: AcsInfo): Record<string, unknown> {
  if (acs.state === "none") return { state: "none" };
  if (acs.state === "unknown") return { state: "unknown", why: acs.why };
  return {
    state: "present",
    control: hexNumber(acs.control, 4),
    ...(acs.capability === undefined ? {} : { capability: hexNumber(acs.capability, 4) }),
    bits: acsBitNames(acs),
    redirects: (acs.control & ACS_REDIRECT) !== 0,
  };
}
