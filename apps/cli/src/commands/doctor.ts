import { checkConfig } from "../doctor/config.js";
import { checkDevices } from "../doctor/devices.js";
import type { Finding, Status } from "../doctor/finding.js";
import { type Host, rootedHost } from "../doctor/host.js";
import { checkIommu } from "../doctor/iommu.js";
import { checkVersion, readKernel } from "../doctor/kernel.js";
import { checkLimits } from "../doctor/limits.js";
import { checkNodes } from "../doctor/nodes.js";
import { type ExitCode, exit } from "../exit.js";
import type { Io } from "../io.js";
import { makeStyle, type Style } from "../style.js";
import { wrap } from "../wrap.js";

export interface DoctorOptions {
  readonly root?: string | undefined;
  readonly json?: boolean | undefined;
}

/** `peerbar doctor`: can this machine share BARs, and what stands in the way. Reads only. */
export async function doctor(io: Io, options: DoctorOptions): Promise<ExitCode> {
  return examine(io, rootedHost(options.root ?? "/"), options);
}

/** The examination of any host: `--root`, or a test's own. */
export async function examine(io: Io, host: Host, options: DoctorOptions): Promise<ExitCode> {
  const kernel = readKernel(host);
  const sections: readonly (readonly [string, readonly Finding[]])[] = [
    ["kernel", [...checkVersion(kernel), ...checkConfig(host, kernel)]],
    ["device nodes", checkNodes(host, kernel)],
    ["IOMMU", checkIommu(host, kernel)],
    ["limits and privilege", checkLimits(host)],
    ["devices and the ways between them", await checkDevices(host)],
  ];
  const findings = sections.flatMap(([, list]) => list);
  const has = (status: Status): boolean => findings.some((finding) => finding.status === status);
  const code = has("fail") ? exit.no : has("unknown") ? exit.unknown : exit.ok;
  if (options.json === true) {
    writeJson(io, host, kernel.release, sections, code);
    return code;
  }
  const style = makeStyle(io.color);
  for (const [title, list] of sections) {
    io.out(`${style.bold(title)}\n`);
    for (const finding of list) writeFinding(io, style, finding);
    io.out("\n");
  }
  io.out(`${summary(style, host, findings, code)}\n`);
  return code;
}

const labels = { ok: "ok  ", note: "note", warn: "warn", fail: "FAIL", unknown: "?   " } as const;

function writeFinding(io: Io, style: Style, finding: Finding): void {
  const paint = {
    ok: style.good,
    note: style.dim,
    warn: style.warn,
    fail: style.bad,
    unknown: style.warn,
  }[finding.status];
  const [first = "", ...rest] = wrap(finding.what, io.width - 8);
  io.out(`  ${paint(labels[finding.status])}  ${first}\n`);
  for (const line of rest) io.out(`        ${line}\n`);
  if (finding.fix === undefined) return;
  // Commands stay whole, to be pasted.
  io.out(`        ${style.accent("fix:")} ${finding.fix}\n`);
}

function summary(style: Style, host: Host, findings: readonly Finding[], code: ExitCode): string {
  const count = (status: Status): number =>
    findings.filter((finding) => finding.status === status).length;
  const where = host.name === "/" ? "This machine" : `The machine below ${host.name}`;
  const also = `${String(count("warn"))} warnings, ${String(count("unknown"))} not known`;
  if (code === exit.no) {
    const first = firstFailure(findings);
    return `${style.bad(`${where} cannot share BARs as it is`)}: ${first} (${String(count("fail"))} failures, ${also})`;
  }
  return code === exit.unknown
    ? `${style.warn(`Nothing stands in the way of ${where.toLowerCase()} as far as can be seen`)}: ${also}`
    : `${style.good(`${where} can share BARs`)}: ${also}`;
}

/** What most people stumble over first. */
function firstFailure(findings: readonly Finding[]): string {
  const failures = findings.filter((finding) => finding.status === "fail");
  const node = failures.find((finding) => finding.id === "node./dev/vfio");
  return (node ?? failures[0])?.what.split(":")[0] ?? "";
}

function writeJson(
  io: Io,
  host: Host,
  release: string | undefined,
  sections: readonly (readonly [string, readonly Finding[]])[],
  code: ExitCode,
): void {
  const answers = {
    [exit.ok]: "yes",
    [exit.no]: "no",
    [exit.unknown]: "unknown",
    [exit.usage]: "no",
  };
  const report = {
    schemaVersion: 1,
    source: { name: host.name, format: "live" },
    kernel: release ?? null,
    canShare: answers[code],
    findings: sections.flatMap(([section, list]) =>
      list.map((finding) => ({ section, ...finding })),
    ),
  };
  io.out(`${JSON.stringify(report, null, 1)}\n`);
}
