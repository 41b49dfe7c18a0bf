import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import {
  type BackendSubject,
  backendCapabilities,
  backendCases,
  type ConformanceReport,
  type ExporterSubject,
  exporterCapabilities,
  exporterCases,
  formatReport,
  type ImporterSubject,
  importerCapabilities,
  importerCases,
  runSuite,
} from "@peerbar/conformance";
import { DmaBufError } from "@peerbar/core";
import { type ExitCode, exit } from "../exit.js";
import { guide } from "../guide.js";
import type { Io } from "../io.js";

type AnySubject = BackendSubject | ExporterSubject | ImporterSubject;

const capabilities: Readonly<Record<AnySubject["role"], readonly string[]>> = {
  exporter: exporterCapabilities,
  importer: importerCapabilities,
  backend: backendCapabilities,
};

/**
 * `peerbar check MODULE`: runs the conformance suite of its role on every subject that the module exports. Exit 1 where a case fails, and
 * where a subject passes none: nothing is proven then.
 */
export async function check(
  io: Io,
  options: { readonly json?: boolean },
  module: string,
): Promise<ExitCode> {
  // The module runs in this process and may end it, or wait for what never comes, which ends it too.
  const cutShort = (): void => {
    io.err(
      `peerbar: EINVAL: check: ${module} ended the process before the suite was done; it calls process.exit, or waits for something that never comes\n`,
    );
    process.exitCode = exit.usage;
  };
  process.once("exit", cutShort);
  try {
    return await checkAll(io, options, module);
  } finally {
    process.removeListener("exit", cutShort);
  }
}

async function checkAll(
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
  const empty = reports.filter((report) => report.passed === 0 && report.failed === 0);
  for (const { subject } of empty) {
    io.err(`peerbar: check: no case passed for "${subject}": nothing is proven\n`);
  }
  return empty.length > 0 || reports.some((report) => report.failed > 0) ? exit.no : exit.ok;
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
  for (const subject of subjects) checkCapabilities(subject);
  if (subjects.length > 0) return subjects;
  throw new DmaBufError("EINVAL", "check", `${path} exports no conformance subject`, {
    hint:
      'export an object with role ("exporter", "importer" or "backend"), name, capabilities and setup: see ' +
      guide("writing-an-importer.md"),
  });
}

/** A name that no case asks for would leave cases out without a word. @throws DmaBufError EINVAL */
function checkCapabilities({ role, name, capabilities: claimed }: AnySubject): void {
  const unknown = (claimed as readonly unknown[]).filter(
    (one) => !capabilities[role].includes(String(one)),
  );
  if (unknown.length === 0) return;
  const names = unknown.map((one) => JSON.stringify(one)).join(", ");
  throw new DmaBufError("EINVAL", "check", `${name} claims what no ${role} has: ${names}`, {
    hint: `there are ${capabilities[role].join(", ")}`,
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
