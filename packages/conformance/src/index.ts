export { backendCases } from "./backend/cases.js";
export type { BackendCapability, BackendFixture, BackendSubject } from "./backend/fixture.js";
export { backendCapabilities } from "./backend/fixture.js";
export type {
  CaseResult,
  CaseStatus,
  ConformanceCase,
  ConformanceReport,
  Role,
  Subject,
} from "./case.js";
export { ConformanceFailure, check, equal, expectErrno, expectViolation } from "./expect.js";
export { exporterCases } from "./exporter/cases.js";
export type { ExporterCapability, ExporterFixture, ExporterSubject } from "./exporter/fixture.js";
export { exporterCapabilities } from "./exporter/fixture.js";
export { importerCases } from "./importer/cases.js";
export type {
  ImportedBuffer,
  ImporterCapability,
  ImporterFixture,
  ImporterSubject,
} from "./importer/fixture.js";
export { importerCapabilities } from "./importer/fixture.js";
export type { FailingStep } from "./importer/watched-exporter.js";
export { WatchedExporter } from "./importer/watched-exporter.js";
export { MapperProbe, probeDevice } from "./mapper-probe.js";
export type { TestApi, TestFunction } from "./register.js";
export { registerSuite } from "./register.js";
export { formatReport } from "./report.js";
export type { RunOptions } from "./run.js";
export { runSuite } from "./run.js";
export type { Defect, DefectReport, HistoryEntry } from "./sanitize/report.js";
export { defectRules, formatDefect } from "./sanitize/report.js";
export type { SanitizerOptions } from "./sanitize/sanitizer.js";
export { Sanitizer, sanitize } from "./sanitize/sanitizer.js";
export { Turns } from "./turns.js";
