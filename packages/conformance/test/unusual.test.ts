import { backendCases, exporterCases, importerCases } from "@peerbar/conformance";
import { registerSuite } from "@peerbar/conformance/vitest";
import { describe, it } from "vitest";
import { unusualBackends, unusualExporters, unusualImporters } from "./fixtures/unusual.js";

// Right, though not as the reference does it: a case that fails here asks for more than its rules.
for (const one of unusualExporters) registerSuite({ describe, it }, exporterCases, one);
for (const one of unusualImporters) registerSuite({ describe, it }, importerCases, one);
for (const one of unusualBackends) registerSuite({ describe, it }, backendCases, one);
