import { importerCases } from "@peerbar/conformance";
import { registerSuite } from "@peerbar/conformance/vitest";
import { describe, it } from "vitest";
import { importer } from "./subject.js";

registerSuite({ describe, it }, importerCases, importer);
