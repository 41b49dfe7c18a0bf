import type { ConformanceCase } from "../case.js";
import { attachCases } from "./attach-cases.js";
import { bufferCases } from "./buffer-cases.js";
import { changeCases } from "./change-cases.js";
import { deviceCases } from "./device-cases.js";
import { exportCases } from "./export-cases.js";
import type { ExporterCapability, ExporterFixture } from "./fixture.js";
import { mapCases } from "./map-cases.js";
import { mapperCases } from "./mapper-cases.js";
import { revokeCases } from "./revoke-cases.js";

/** What every exporter must pass. */
export const exporterCases: readonly ConformanceCase<ExporterFixture, ExporterCapability>[] = [
  ...exportCases,
  ...attachCases,
  ...mapCases,
  ...mapperCases,
  ...revokeCases,
  ...changeCases,
  ...deviceCases,
  ...bufferCases,
];
