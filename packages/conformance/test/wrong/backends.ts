import type { BackendSubject } from "@peerbar/conformance"; export const wrongBackends: Readonly<Record<string, BackendSubject>> = {};
