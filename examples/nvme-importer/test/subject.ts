import type { ImporterSubject } from "@peerbar/conformance";
import { PhysicalMemory } from "@peerbar/conformance/reference";
import { BlockImport } from "../src/importer.js";
import { stage } from "./machine.js";

/**
 * This importer as the conformance suite drives it. The suite's memory is not on the machine's bus, so `dma` is not claimed; the bytes
 * are in bytes.test.ts.
 */
export const importer: ImporterSubject = {
  role: "importer",
  name: "example-nvme",
  capabilities: ["sgt", "revocable", "dynamic", "multi-range", "kernel-fences"],
  setup: async () => {
    const { driver } = await stage("beside");
    return {
      memory: new PhysicalMemory(),
      import: (buffer, slice) => BlockImport.open(driver, buffer, slice),
    };
  },
};
