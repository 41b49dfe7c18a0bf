import type { ConformanceCase } from "../case.js";
import { attachCases } from "./attach-cases.js";
import type { ExporterCapability, ExporterFixture } from "./fixture.js";
import { mapCases } from "./map-cases.js";
import { revokeCases } from "./revoke-cases.js";

/** What every exporter must pass. */
export const exporterCases: readonly ConformanceCase<ExporterFixture, ExporterCapability>[] = [
  ...attachCases,
  ...mapCases,
  ...revokeCases,
];
