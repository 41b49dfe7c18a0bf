import type { Subject } from "@peerbar/words";

/** What an answer was read from: the `source` key of every `--json`. */
export function sourceJson(subject: Subject): Record<string, unknown> {
  const { name, format, warnings } = subject.topology.source;
  return {
    name,
    format,
    cpuEvidence: subject.cpuEvidence,
    ...(warnings.length === 0 ? {} : { warnings }),
  };
}
