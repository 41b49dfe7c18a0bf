import { exporterCases } from "@peerbar/conformance";
import { registerSuite } from "@peerbar/conformance/vitest";
import { describe, it } from "vitest";
import { exporter } from "./subject.js";

registerSuite({ describe, it }, exporterCases, exporter);
