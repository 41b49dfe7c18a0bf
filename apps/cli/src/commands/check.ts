import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import {
  type BackendSubject,
  backendCases,
  type ConformanceReport,
  type ExporterSubject,
  exporterCases,
  formatReport,
  type ImporterSubject,
  importerCases,
  runSuite,
} from "@peerbar/conformance";
import { DmaBufError } from "@peerbar/core";
import { type ExitCode, exit } from "../exit.js";
import type { Io } from "../io.js";

type AnySubject = BackendSubject | ExporterSubject | ImporterSubject;

/** `peerbar check MODULE`: runs the conformance suite of its role on every subject that the module exports. */
export async function check(
  io: Io,
  options: { readonly json?: boolean },
  module: string,
): Promise<ExitCode> {
  const reports: ConformanceReport[] = [];
  for (const subject of await subjectsOf(module)) {
    const report = await runRole(subject);
    reports.push(report);
    if (options.json !== true) io.out(`${formatReport(report).trimEnd()}\n\n`);
  }
  if (options.json === true) {
    const source = { name: module, format: "module" };
    io.out(`${JSON.stringify({ schemaVersion: 1, source, reports }, undefined, 2)}\n`);
  }
  return reports.some((report) => report.failed > 0) ? exit.no : exit.ok;
}

function runRole(subject: AnySubject): Promise<ConformanceReport> {
  switch (subject.role) {
    case "exporter":
      return runSuite(exporterCases, subject);
    case "importer":
      return runSuite(importerCases, subject);
    case "backend":
      return runSuite(backendCases, subject);
  }
}

/** Subjects among a module's exports, lists of them included, in the order of their names. */
async function subjectsOf(path: string): Promise<readonly AnySubject[]> {
  let exported: Record<string, unknown>;
  try {
    exported = (await import(pathToFileURL(resolve(path)).href)) as Record<string, unknown>;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new DmaBufError("EINVAL", "check", `${path} cannot be loaded: ${reason}`, {
      hint: "name a JavaScript module that Node can import",
      cause,
    });
  }
  const subjects = Object.values(exported)
    .flatMap((value): unknown[] => (Array.isArray(value) ? value : [value]))
    .filter(isSubject);
  if (subjects.length > 0) return subjects;
  throw new DmaBufError("EINVAL", "check", `${path} exports no conformance subject`, {
    hint: 'export an object with role ("exporter", "importer" or "backend"), name, capabilities and setup: see docs/writing-an-importer.md',
  });
}

function isSubject(value: unknown): value is AnySubject {
  if (typeof value !== "object" || value === null) return false;
  const { role, name, capabilities, setup } = value as Partial<Record<string, unknown>>;
  return (
    (role === "exporter" || role === "importer" || role === "backend") &&
    typeof name === "string" &&
    Array.isArray(capabilities) &&
    typeof setup === "function"
  );
}
