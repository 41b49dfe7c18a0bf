import { backendCases } from "@peerbar/conformance";
import { registerSuite } from "@peerbar/conformance/vitest";
import { describe, it } from "vitest";
import { backend } from "./subject.js";

registerSuite({ describe, it }, backendCases, backend);
