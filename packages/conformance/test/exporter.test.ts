import { exporterCases } from "@peerbar/conformance";
import { MemoryExporter } from "@peerbar/conformance/reference";
import { registerSuite } from "@peerbar/conformance/vitest";
import { describe, it } from "vitest";
import { deviceSubject } from "./fixtures/device-exporter.js";
import { memorySubject } from "./fixtures/subjects.js";
import { barLikeSubject, pinnedSubject } from "./fixtures/variants.js";
import { mappable } from "./wrong/more-exporters.js";

const subjects = [
  memorySubject("memory behind an IOMMU", (memory) => new MemoryExporter({ memory })),
  memorySubject("memory, direct", (memory) => new MemoryExporter({ memory }), { iommu: false }),
  barLikeSubject("memory that only peers take"),
  pinnedSubject("pinned memory"),
  deviceSubject("a device's memory"),
  mappable(),
];
for (const subject of subjects) registerSuite({ describe, it }, exporterCases, subject);
