import { cpuKinds } from "@peerbar/words";
import type { OptionSpec } from "./verb.js";

/** `-F`: the machine that a verb speaks of. */
export const file: OptionSpec = {
  flags: "-F, --file <capture>",
  description:
    "a capture instead of this machine: lspci text or hex, /sys as directory or tar, peerbar JSON",
  completes: "file",
};

/** `--cpu`: what the capture does not say. */
export const cpu: OptionSpec = {
  flags: "--cpu <kind>",
  description: `CPU where the capture does not say: ${cpuKinds.join(", ")}`,
  completes: cpuKinds,
};
