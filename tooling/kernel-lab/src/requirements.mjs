import { spawnSync } from "node:child_process";
import { accessSync, constants, existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { LabError, say } from "./say.mjs";

/** @typedef {{ what: string, package: string, here: () => boolean, for: "boot" | "build" }} Requirement */

const command = (name, packageName, phase) => ({
  what: name,
  package: packageName,
  for: phase,
  here: () => findCommand(name) !== undefined,
});

/** What the lab starts, and the Debian package each comes from. */
export const requirements = [
  command("qemu-system-x86_64", "qemu-system-x86", "boot"),
  command("insmod", "kmod", "boot"),
  command("gcc", "gcc", "build"),
  command("make", "make", "build"),
  command("flex", "flex", "build"),
  command("bison", "bison", "build"),
  command("bc", "bc", "build"),
  command("xz", "xz-utils", "build"),
  {
    what: "libelf's headers",
    package: "libelf-dev",
    for: "build",
    here: () => existsSync("/usr/include/gelf.h"),
  },
];

/** Where a command is, looking into the sbin folders too, which a user's PATH often lacks. */
export function findCommand(name) {
  const folders = [...(process.env.PATH ?? "").split(delimiter), "/usr/sbin", "/sbin"];
  return folders
    .map((folder) => join(folder, name))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}

/** @param {("boot" | "build")[]} phases */
export function missingRequirements(phases) {
  return requirements.filter((entry) => phases.includes(entry.for) && !entry.here());
}

/** Why this computer cannot run the lab at all, or undefined. */
export function unsupported() {
  if (process.platform !== "linux")
    return `the lab boots Linux with the host's own programs; this is ${process.platform}`;
  if (process.arch !== "x64")
    return `the lab's machine is x86-64 and runs the host's programs; this host is ${process.arch}`;
  return undefined;
}

/**
 * Installs what is missing where that is possible: as root, with apt.
 *
 * @param {("boot" | "build")[]} phases
 * @throws LabError naming what to install, and how
 */
export function installRequirements(phases) {
  const reason = unsupported();
  if (reason !== undefined) throw new LabError(reason);
  const missing = missingRequirements(phases);
  if (missing.length === 0) return;
  const packages = missing.map((entry) => entry.package);
  const names = missing.map((entry) => entry.what).join(", ");
  if (findCommand("apt-get") === undefined) {
    throw new LabError(
      `missing: ${names}; install them with your distribution's tools (Debian calls them ${packages.join(" ")})`,
    );
  }
  const install = [
    "apt-get",
    "-y",
    "-o",
    "DPkg::Lock::Timeout=600",
    "install",
    "--no-install-recommends",
    ...packages,
  ];
  if (process.getuid?.() !== 0) {
    throw new LabError(
      `missing: ${names}; as root: ${install
        .filter((word) => !word.includes("Lock"))
        .join(" ")
        .replace(" -o ", " ")}`,
    );
  }
  say(`installing ${packages.join(" ")} ...`);
  runApt(["apt-get", "-o", "DPkg::Lock::Timeout=600", "update"]);
  runApt(install);
  const still = missingRequirements(phases);
  if (still.length > 0) {
    throw new LabError(
      `still missing after the installation: ${still.map((entry) => entry.what).join(", ")}`,
    );
  }
}

function runApt([program, ...args]) {
  const result = spawnSync(program, args, {
    encoding: "utf8",
    maxBuffer: 64 * 1024 * 1024,
    env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" },
  });
  if (result.status === 0) return;
  const tail = `${result.stdout ?? ""}${result.stderr ?? ""}`
    .trim()
    .split("\n")
    .slice(-8)
    .join("\n  ");
  throw new LabError(`${program} ${args.join(" ")} failed:\n  ${tail}`);
}
