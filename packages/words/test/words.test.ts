import { P2pdma, type P2pdmaOptions, shippedCaptures } from "@peerbar/p2pdma";
import { describe, expect, test } from "vitest";
import { type Account, accountOf, adviceOf, factsOf, verdicts, wayOf } from "../src/index.js";

const topology = shippedCaptures["gpu-server-2s.json"]?.();

function tell(provider: string, client: string, options: P2pdmaOptions = {}): Account {
  if (topology === undefined) throw new Error("the shipped capture is gone");
  const p2pdma = new P2pdma(topology, { cpu: "intel", ...options });
  const subject = { topology, cpu: p2pdma.cpu, cpuEvidence: "a test says so" };
  return accountOf(subject, p2pdma, p2pdma.decide(provider, client));
}

const fact = (account: Account, label: string): string =>
  factsOf(account).find((one) => one.label === label)?.text ?? "";

/** One ordered pair of endpoints for each answer that occurs on the shipped machine. */
function pairOf(mapType: keyof typeof verdicts): readonly [string, string] {
  const ends = (topology?.endpoints() ?? []).map((fn) => fn.address);
  for (const a of ends) {
    for (const b of ends) if (a !== b && tell(a, b).decision.mapType === mapType) return [a, b];
  }
  throw new Error(`no pair is ${mapType}`);
}

describe("an account", () => {
  test("switch-local: no advice, no host bridge on the way, the ports decide (p2pdma R9)", () => {
    const account = tell(...pairOf("bus-addr"));
    expect(adviceOf(account)).toEqual([]);
    expect(wayOf(account).map((step) => step.place)).toEqual([
      "provider",
      "up",
      "meet",
      "down",
      "client",
    ]);
    expect(fact(account, "decided by")).toContain("host bridge and CPU are not asked");
    expect(fact(account, "addresses")).toMatch(/^bus: /);
  });

  test("a redirect is marked on the step that decision.acsRedirect names (p2pdma R7)", () => {
    for (const mapType of ["thru-host-bridge", "not-supported"] as const) {
      const account = tell(...pairOf(mapType));
      const marked = wayOf(account).filter((step) => step.redirects);
      expect(new Set(marked.map((step) => step.address))).toEqual(
        new Set(account.decision.acsRedirect),
      );
    }
  });

  test("refused: the first advice is a fix, and its lines name the redirecting ports", () => {
    const account = tell(...pairOf("not-supported"));
    const [first] = adviceOf(account);
    expect(first?.label).toBe("fix");
    for (const port of account.decision.acsRedirect) {
      expect(first?.lines.map((line) => line.text).join(" ")).toContain(port);
    }
  });

  test("AMD Zen: the host steps say that the list is not asked (p2pdma R17)", () => {
    const [a, b] = pairOf("not-supported");
    const account = tell(a, b, { cpu: "amd-zen" });
    const hosts = wayOf(account).filter((step) => step.place === "host");
    expect(hosts.length).toBeGreaterThan(0);
    for (const host of hosts) expect(host.words).toContain("the list is not asked");
    expect(verdicts[account.decision.mapType]).toBe("YES, through the host bridge");
  });

  test("a function and itself: one step, on both sides (p2pdma R8)", () => {
    const [a] = pairOf("bus-addr");
    expect(wayOf(tell(a, a)).map((step) => step.place)).toEqual(["both"]);
  });
});
