import type { Finding } from "./finding.js";
import type { Host } from "./host.js";

/** What is known of the kernel, for all checks. */
export interface Kernel {
  /** `7.2.13-amd64`; undefined where /proc does not show it. */
  readonly release: string | undefined;
  /** Major * 1000 + minor; undefined with the release. */
  readonly version: number | undefined;
  /** Value of an option (`y`, `m`, `n`), by its name without CONFIG_; undefined where no configuration was found. */
  readonly config: ((name: string) => string) | undefined;
  /** Where the configuration was read. */
  readonly configFrom: string;
  readonly commandLine: readonly string[];
}

/** Export of BARs as dma-buf came with Linux 6.19 (vfio-pci-dmabuf, section 1). */
const EXPORT_SINCE = 6019;
/** Version that the facts here are taken from. */
const FACTS_OF = 7002;

export function readKernel(host: Host): Kernel {
  const release = host.text("/proc/sys/kernel/osrelease")?.trim();
  const match = /^(\d+)\.(\d+)/.exec(release ?? "");
  const found = findConfig(host, release);
  return {
    release,
    version: match === null ? undefined : Number(match[1]) * 1000 + Number(match[2]),
    config: found === undefined ? undefined : parseConfig(found.text),
    configFrom: found?.path ?? "",
    commandLine: host.text("/proc/cmdline")?.trim().split(/\s+/) ?? [],
  };
}

function findConfig(
  host: Host,
  release: string | undefined,
): { path: string; text: string } | undefined {
  const packed = host.gzipText("/proc/config.gz");
  if (packed !== undefined) return { path: "/proc/config.gz", text: packed };
  if (release === undefined) return undefined;
  const paths = [
    `/boot/config-${release}`,
    `/lib/modules/${release}/config`,
    `/usr/lib/modules/${release}/config`,
    `/lib/modules/${release}/build/.config`,
    `/usr/lib/kernel/config-${release}`,
  ];
  for (const path of paths) {
    const text = host.text(path);
    if (text?.includes("CONFIG_") === true) return { path, text };
  }
  return undefined;
}

function parseConfig(text: string): (name: string) => string {
  const values = new Map<string, string>();
  for (const match of text.matchAll(/^CONFIG_(\w+)=(.*)$/gm)) {
    values.set(match[1] ?? "", match[2] ?? "");
  }
  return (name) => values.get(name) ?? "n";
}

/** The version, and which known defects it has. */
export function checkVersion(kernel: Kernel): Finding[] {
  const { release, version } = kernel;
  if (release === undefined || version === undefined) {
    return [
      {
        id: "kernel.version",
        status: "unknown",
        what: "the kernel's version is not shown",
        fix: "mount /proc, or give --root a tree with proc/sys/kernel/osrelease",
      },
    ];
  }
  if (version < EXPORT_SINCE) {
    return [
      {
        id: "kernel.version",
        status: "fail",
        what: `Linux ${release}: vfio-pci exports BARs as dma-buf since Linux 6.19`,
        fix: "boot Linux 7.2 or later (6.19 at least)",
      },
    ];
  }
  const findings: Finding[] = [
    { id: "kernel.version", status: "ok", what: `Linux ${release} can export BARs as dma-buf` },
  ];
  if (version < FACTS_OF) {
    findings.push({
      id: "kernel.fixes",
      status: "warn",
      what: `Linux ${release} may lack fixes of the export and import paths (CVE-2026-31468, CVE-2026-64042, CVE-2026-74328)`,
      fix: "boot Linux 7.2 or later, or check that your distribution has backported them",
    });
  }
  findings.push({
    id: "kernel.ranges",
    status: "note",
    what: "a dma-buf of two or more ranges cannot be mapped through an IOVA: EADDRINUSE (a defect as of Linux 7.3.4; vfio-pci-dmabuf R36)",
    fix: "export one range a buffer",
  });
  return findings;
}
