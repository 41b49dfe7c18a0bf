import { backendCases } from "@peerbar/conformance";
import { registerSuite } from "@peerbar/conformance/vitest";
import { describe, it } from "vitest";
import { simpleIommuSubject } from "./fixtures/backends.js";
import { countingSubject, markingSubject } from "./wrong/more-backends.js";

registerSuite({ describe, it }, backendCases, simpleIommuSubject("simple IOMMU"));
registerSuite({ describe, it }, backendCases, markingSubject("with attributes", "mmio"));
registerSuite({ describe, it }, backendCases, countingSubject("with a CPU cache", false));
