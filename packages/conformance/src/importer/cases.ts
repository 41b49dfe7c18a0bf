import type { ConformanceCase } from "../case.js";
import { dmaCases } from "./dma-cases.js";
import type { ImporterCapability, ImporterFixture } from "./fixture.js";
import { importCases } from "./import-cases.js";
import { keyCases } from "./key-cases.js";
import { importerRevokeCases } from "./revoke-cases.js";

/** What every importer must pass. */
export const importerCases: readonly ConformanceCase<ImporterFixture, ImporterCapability>[] = [
  ...importCases,
  ...importerRevokeCases,
  ...keyCases,
  ...dmaCases,
];
