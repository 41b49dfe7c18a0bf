import { backendCases } from "@peerbar/conformance";
import { registerSuite } from "@peerbar/conformance/vitest";
import { describe, it } from "vitest";
import { simpleIommuSubject } from "./fixtures/backends.js";

registerSuite({ describe, it }, backendCases, simpleIommuSubject("simple IOMMU"));
