import type { HostBridgeVerdict, PathStep } from "@peerbar/p2pdma";
import { acsWords } from "../acs-text.js";
import type { Account } from "../commands/why.js";
import { kindOf } from "../describe.js";
import type { Glyphs } from "../glyphs.js";
import type { Style } from "../style.js";
import { wrap } from "../wrap.js";

interface PathLine {
  readonly side: string;
  readonly address: string;
  readonly role: string;
  readonly words: string;
  readonly tone: "good" | "bad" | "warn" | "dim";
}

const roles: Readonly<Record<string, string>> = {
  "root-port": "root port",
  "switch-upstream": "switch up",
  "switch-downstream": "switch down",
  "pcie-to-pci": "PCIe to PCI",
  "pci-to-pcie": "PCI to PCIe",
};

/** The way from the provider up to where both meet, and down to the client, one device a line, with its ACS in words. */
export function drawPath(account: Account, style: Style, glyphs: Glyphs, width: number): string[] {
  const lines = pathLines(account, glyphs);
  const widths = (["side", "address", "role"] as const).map((key) =>
    Math.max(...lines.map((line) => line[key].length)),
  );
  const indent = widths.reduce((sum, n) => sum + n + 2, 0);
  return lines.flatMap((line) => {
    const [a = 0, b = 0, c = 0] = widths;
    const left = `${line.side.padEnd(a)}  ${line.address.padEnd(b)}  ${line.role.padEnd(c)}  `;
    const [first = "", ...rest] = wrap(line.words, Math.max(20, width - indent));
    const paint = style[line.tone];
    return [
      first === "" ? left.trimEnd() : `${left}${paint(first)}`,
      ...rest.map((text) => `${" ".repeat(indent)}${paint(text)}`),
    ];
  });
}

function pathLines(account: Account, glyphs: Glyphs): PathLine[] {
  const { decision } = account;
  const { commonAncestor, upPath, downPath } = decision;
  const counts = commonAncestor !== undefined;
  if (decision.provider === decision.client) {
    return upPath.map((step) => stepLine(account, step, "both", counts));
  }
  const lines = upPath.map((step, i) => {
    const meets = step.address === commonAncestor;
    const side = i === 0 ? "provider" : meets ? `   ${glyphs.meet}` : `   ${glyphs.up}`;
    return stepLine(account, step, side, counts);
  });
  if (!counts || decision.acsRedirect.length > 0) lines.push(...hostLines(account, glyphs));
  const down = downPath
    .map((step, i) => stepLine(account, step, i === 0 ? "client" : `   ${glyphs.down}`, counts))
    .reverse();
  return [...lines, ...down];
}

function stepLine(
  { subject, decision }: Account,
  step: PathStep,
  side: string,
  counts: boolean,
): PathLine {
  const fn = subject.topology.get(step.address);
  const role = fn?.portType === undefined ? undefined : roles[fn.portType];
  const kind = fn === undefined ? undefined : kindOf(fn);
  const meets = step.address === decision.commonAncestor && decision.provider !== decision.client;
  const words = meets ? `both meet here; ${acsWords(step.acs)}` : acsWords(step.acs);
  const tone =
    step.redirects === undefined ? "warn" : step.redirects ? (counts ? "bad" : "dim") : "good";
  return {
    side,
    address: step.address,
    role: role ?? (fn?.busNumbers !== undefined ? "bridge" : (kind ?? "")),
    // Without a common device traffic goes up anyway: ACS on the way has no part in the answer.
    words: counts ? words : step.redirects === true ? "ACS redirects, but has no part here" : "",
    tone: counts ? tone : "dim",
  };
}

function hostLines({ subject, decision }: Account, glyphs: Glyphs): PathLine[] {
  const [mine, theirs] = decision.hostBridges;
  const line = (host: HostBridgeVerdict): PathLine => ({
    side: `   ${glyphs.meet}`,
    address: host.root,
    role: "host bridge",
    words:
      subject.cpu === "amd-zen"
        ? "AMD Zen or newer: passes it on, the list is not asked"
        : host.why,
    tone:
      host.listed === true || subject.cpu === "amd-zen"
        ? "good"
        : host.listed === false
          ? "bad"
          : "warn",
  });
  return mine.root === theirs.root ? [line(mine)] : [line(mine), line(theirs)];
}
