import { importerCases } from "@peerbar/conformance";
import { registerSuite } from "@peerbar/conformance/vitest";
import { describe, it } from "vitest";
import { simpleImporterSubject } from "./fixtures/importers.js";
import { keyedSubject, paged } from "./wrong/more-importers.js";

const subjects = [
  simpleImporterSubject("simple importer, dynamic", "dynamic"),
  simpleImporterSubject("simple importer, pinned", "pinned"),
  keyedSubject("simple importer, with keys"),
  paged,
];
for (const subject of subjects) registerSuite({ describe, it }, importerCases, subject);
