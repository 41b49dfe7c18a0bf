import { readFileSync } from "node:fs";
import { matrix, P2pdma } from "@peerbar/p2pdma";
import { liveTopology } from "@peerbar/p2pdma/node";
import { describe, expect, test } from "vitest";
import { Oracle } from "./oracle-client.js";

const machine = process.env.PEERBAR_LAB_MACHINE ?? "";
const release = readFileSync("/proc/sys/kernel/osrelease", "utf8").trim();

/** The kernel's distance: -1 where it does not support the pair (p2pdma R19). */
function ours(topology: ReturnType<typeof liveTopology>): Map<string, number> {
  const pairs = matrix(new P2pdma(topology), [...topology.functions.keys()]);
  const names = topology.functions.map((info) => info.address);
  const answers = new Map<string, number>();
  for (const [row, provider] of names.entries()) {
    for (const [column, client] of names.entries()) {
      const supported = pairs.mapTypeAt(row, column) !== "not-supported";
      answers.set(`${provider} ${client}`, supported ? pairs.distanceAt(row, column) : -1);
    }
  }
  return answers;
}

describe(`p2pdma answers on ${machine}, Linux ${release}`, () => {
  test("p2pdma R7-R13, R16, R17, R19: every ordered pair of functions, bridges too, has the kernel's distance", () => {
    using oracle = new Oracle();
    const answers = ours(liveTopology());
    const kernel = new Map(
      [...answers.keys()].map((pair) => {
        const [provider = "", client = ""] = pair.split(" ");
        return [pair, oracle.distance(provider, client)];
      }),
    );
    expect(kernel).toEqual(answers);
    console.log(`${String(answers.size)} pairs agree`);
  });
});
