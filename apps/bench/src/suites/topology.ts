import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseTopology } from "@peerbar/p2pdma";
import { Machine } from "@peerbar/pcie-sim";
import type { BenchCase, Skipped } from "../case.js";

const CAPTURE = "../shared/topologies/spr-2s-8xh800-vfs.lspci-vv.txt";

/** The largest real dump at hand, 980 kB of `lspci -vv`; captures of other people's machines are not part of the project. */
function largeDump(): string | Skipped {
  const path = fileURLToPath(new URL(`../../../${CAPTURE}`, import.meta.url));
  return existsSync(path) ? readFileSync(path, "utf8") : { skipped: `${CAPTURE} is not here` };
}

const parseDump: BenchCase = {
  id: "topology/parse-h800",
  setup() {
    const text = largeDump();
    if (typeof text !== "string") return text;
    return {
      run: () => parseTopology(text, { name: "dump" }),
      yardstick: () => {
        let found = 0;
        for (const line of text.split("\n")) if (/^[0-9a-f]{2}:/.test(line)) found += 1;
        return found;
      },
      batch: 1,
    };
  },
};

const buildMachine: BenchCase = {
  id: "topology/machine-h800",
  setup() {
    const text = largeDump();
    if (typeof text !== "string") return text;
    const topology = parseTopology(text, { name: "dump" });
    return {
      run: () => Machine.from(topology),
      yardstick: () => parseTopology(text, { name: "dump" }),
      batch: 1,
    };
  },
};

export const topology: readonly BenchCase[] = [parseDump, buildMachine];
