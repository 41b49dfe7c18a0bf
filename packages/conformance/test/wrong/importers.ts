import type { ImporterSubject } from "@peerbar/conformance"; export const wrongImporters: Readonly<Record<string, ImporterSubject>> = {};
