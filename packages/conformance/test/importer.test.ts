import { importerCases } from "@peerbar/conformance";
import { registerSuite } from "@peerbar/conformance/vitest";
import { describe, it } from "vitest";
import { simpleImporterSubject } from "./fixtures/importers.js";

const subjects = [
  simpleImporterSubject("simple importer, dynamic", "dynamic"),
  simpleImporterSubject("simple importer, pinned", "pinned"),
];
for (const subject of subjects) registerSuite({ describe, it }, importerCases, subject);
