import type { ConformanceCase } from "../case.js";
import { attributeCases } from "./attribute-cases.js";
import { dmaCases } from "./dma-cases.js";
import { extentCases } from "./extent-cases.js";
import type { BackendCapability, BackendFixture } from "./fixture.js";
import { spaceCases } from "./space-cases.js";

/** What every backend must pass. */
export const backendCases: readonly ConformanceCase<BackendFixture, BackendCapability>[] = [
  ...spaceCases,
  ...dmaCases,
  ...extentCases,
  ...attributeCases,
];
