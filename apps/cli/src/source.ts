import { DmaBufError } from "@peerbar/core";
import { type CpuKind, inferCpu, type PciTopology, parseTopology } from "@peerbar/p2pdma";
import { liveTopology, readTopology } from "@peerbar/p2pdma/node";
import { cpuKinds, type Subject } from "@peerbar/words";

/**
 * The machine of `-F FILE`, or the one this runs on.
 *
 * @throws DmaBufError ENOENT, EACCES, EINVAL for the file, EINVAL for the CPU.
 */
export async function readSubject(options: {
  readonly file?: string | undefined;
  readonly cpu?: string | undefined;
}): Promise<Subject> {
  const cpu = parseCpu(options.cpu);
  const topology = options.file === undefined ? liveTopology() : await readTopology(options.file);
  return subjectOf(topology, cpu);
}

/** The capture that ships with the tool: a two-socket GPU server made by `generateServer` of `@peerbar/p2pdma`. */
export async function readShipped(options: {
  readonly cpu?: string | undefined;
}): Promise<Subject> {
  const cpu = parseCpu(options.cpu);
  const shipped = await import("@peerbar/p2pdma/captures/gpu-server-2s.json", {
    with: { type: "json" },
  });
  const text = JSON.stringify(shipped.default);
  return subjectOf(parseTopology(text, { name: "gpu-server-2s (shipped)" }), cpu);
}

function subjectOf(topology: PciTopology, cpu: CpuKind | undefined): Subject {
  if (cpu !== undefined) return { topology, cpu, cpuEvidence: "--cpu" };
  const inferred = inferCpu(topology);
  return { topology, cpu: inferred.cpu, cpuEvidence: inferred.evidence };
}

function parseCpu(text: string | undefined): CpuKind | undefined {
  const kind: CpuKind | undefined = cpuKinds.find((name) => name === text);
  if (text === undefined || kind !== undefined) return kind;
  throw new DmaBufError("EINVAL", "--cpu", `no CPU kind "${text}"`, {
    hint: `use one of ${cpuKinds.join(", ")}`,
  });
}
