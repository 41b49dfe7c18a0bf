/** Shells that completion is written for. */
export const shells = ["bash", "zsh", "fish"] as const;
export type Shell = (typeof shells)[number];

/** What `peerbar new` has templates for. */
export const roles = ["importer", "exporter", "backend"] as const;

/** Where `share` and `demo` run: on the kernel, or on a simulated machine. */
export const backends = ["native", "mock"] as const;
