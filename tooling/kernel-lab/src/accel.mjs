import { accessSync, constants, readFileSync, statSync, writeFileSync } from "node:fs";
import { release } from "node:os";
import { join } from "node:path";
import { boot } from "./boot.mjs";
import { machineByName } from "./machines.mjs";
import { cacheFolder } from "./paths.mjs";
import { say } from "./say.mjs";

/**
 * KVM where it works, else TCG. /dev/kvm can exist, open, and hang in the firmware all the same: so a machine is booted with it once
 * for each host kernel, with twenty seconds to end by itself, and the answer is kept.
 */
export async function chooseAccel(wanted, kernel) {
  if (wanted !== "auto") return wanted;
  try {
    accessSync("/dev/kvm", constants.R_OK | constants.W_OK);
  } catch {
    return "tcg";
  }
  const file = join(cacheFolder(), "kvm-probe.json");
  const host = `${release()} ${statSync("/dev/kvm").ino} ${kernel.key}`;
  try {
    const kept = JSON.parse(readFileSync(file, "utf8"));
    if (kept.host === host) return kept.accel;
  } catch {
    // never asked here
  }
  say("asking whether KVM works here (once, at most 20 s) ...");
  const result = await boot({
    machine: machineByName("switch-none"),
    kernel,
    script: "exit 0\n",
    timeoutSeconds: 20,
    accel: "kvm",
    cpus: 1,
    memoryMiB: 1024,
  });
  const accel = result.exitCode === 0 && result.findings.length === 0 ? "kvm" : "tcg";
  writeFileSync(file, JSON.stringify({ host, accel }));
  say(accel === "kvm" ? "KVM works" : "KVM does not; emulating (TCG)");
  return accel;
}
