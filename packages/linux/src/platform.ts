import { DmaBufError } from "@peerbar/core";

/** Architectures with Linux's generic ioctl encoding, 64-bit little-endian: the layouts here are theirs. */
const architectures: readonly string[] = ["x64", "arm64", "riscv64", "loong64"];

/** Why no system call can be made here, or undefined. `platform` and `arch` are Node's names. */
export function platformProblem(
  platform: string = process.platform,
  arch: string = process.arch,
): { readonly reason: string; readonly hint: string } | undefined {
  if (platform !== "linux")
    return {
      reason: `system calls of Linux are needed, this is ${platform}`,
      hint: "run it on Linux, or use the mock backend, which runs anywhere",
    };
  if (!architectures.includes(arch))
    return {
      reason: `the struct layouts are those of ${architectures.join(", ")}, this is ${arch}`,
      hint: "run a 64-bit Node, or use the mock backend",
    };
  return undefined;
}

/** @throws DmaBufError ENOSYS where {@link platformProblem} has something to say. */
export function requirePlatform(syscall: string): void {
  const problem = platformProblem();
  if (problem) throw new DmaBufError("ENOSYS", syscall, problem.reason, { hint: problem.hint });
}
