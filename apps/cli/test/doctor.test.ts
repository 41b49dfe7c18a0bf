import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { gzipSync } from "node:zlib";
import { generateServer, type PciTopology } from "@peerbar/p2pdma";
import { describe, expect, test } from "vitest";
import { examine } from "../src/commands/doctor.js";
import type { Access, Host } from "../src/doctor/host.js";
import type { ExitCode } from "../src/exit.js";
import { scratch } from "./fixtures.js";
import { runCli } from "./run.js";

const config = [
  "PCI_P2PDMA=y",
  "DMA_SHARED_BUFFER=y",
  "VFIO=y",
  "VFIO_PCI=m",
  "VFIO_PCI_DMABUF=y",
  "VFIO_DEVICE_CDEV=y",
  "IOMMUFD=y",
  "INFINIBAND_USER_MEM=y",
  "INFINIBAND_ON_DEMAND_PAGING=y",
  "UDMABUF=y",
  "INTEL_IOMMU=y",
]
  .map((line) => `CONFIG_${line}\n`)
  .join("");

const healthy: Readonly<Record<string, string>> = {
  "/proc/sys/kernel/osrelease": "7.2.13-amd64\n",
  "/boot/config-7.2.13-amd64": config,
  "/proc/cmdline": "root=/dev/vda1 intel_iommu=on\n",
  "/proc/self/status": "Name:\tnode\nCapEff:\t000001ffffffffff\n",
  "/proc/self/limits":
    "Max locked memory         unlimited            unlimited            bytes\n",
  "/sys/module/vfio_pci/uevent": "",
  "/sys/class/iommu/dmar0/uevent": "",
  "/sys/kernel/iommu_groups/0/type": "DMA-FQ\n",
  "/dev/vfio/devices/vfio0": "",
  "/dev/iommu": "",
  "/dev/udmabuf": "",
  "/dev/dma_heap/system": "",
  "/dev/infiniband/uverbs0": "",
};

/** A machine from a table of files; undefined takes one away. */
function hostOf(
  changes: Readonly<Record<string, string | undefined>> = {},
  topology: PciTopology = generateServer({ acs: "off" }),
  denied: readonly string[] = [],
): Host {
  const files = Object.entries({ ...healthy, ...changes }).filter(
    (entry): entry is [string, string] => entry[1] !== undefined,
  );
  const table = new Map(files);
  return {
    name: "/",
    text: (path) => table.get(path),
    gzipText: () => undefined,
    list: (path) => {
      const below = [...table.keys()].filter((name) => name.startsWith(`${path}/`));
      const names = below.map((name) => name.slice(path.length + 1).split("/")[0] ?? "");
      return names.length === 0 ? undefined : [...new Set(names)];
    },
    linkName: () => undefined,
    access: (path): Access =>
      denied.includes(path) ? "denied" : table.has(path) ? "ok" : "absent",
    topology: () => Promise.resolve(topology),
  };
}

interface Finding {
  readonly id: string;
  readonly status: string;
  readonly what: string;
  readonly fix?: string;
}

async function look(
  host: Host,
): Promise<{ code: ExitCode; findings: readonly Finding[]; text: string }> {
  const json: string[] = [];
  const text: string[] = [];
  const io = { err: () => undefined, color: false, width: 100, env: {} };
  const code = await examine({ ...io, out: (part) => json.push(part) }, host, { json: true });
  expect(await examine({ ...io, out: (part) => text.push(part) }, host, {})).toBe(code);
  const report = JSON.parse(json.join("")) as { schemaVersion: number; findings: Finding[] };
  expect(report.schemaVersion).toBe(1);
  return { code, findings: report.findings, text: text.join("") };
}

describe("doctor", () => {
  test("a machine that has everything: exit 0, no failure", async () => {
    const { code, findings, text } = await look(hostOf());
    expect(findings.filter((one) => one.status === "fail" || one.status === "unknown")).toEqual([]);
    expect(code).toBe(0);
    expect(text).toContain("This machine can share BARs");
  });

  test("whatever is wrong, the finding names its fix", async () => {
    const broken = hostOf({
      "/proc/sys/kernel/osrelease": "6.12.0\n",
      "/boot/config-7.2.13-amd64": undefined,
      "/dev/vfio/devices/vfio0": undefined,
      "/dev/iommu": undefined,
      "/sys/class/iommu/dmar0/uevent": undefined,
      "/sys/kernel/iommu_groups/0/type": undefined,
    });
    const { code, findings, text } = await look(broken);
    expect(code).toBe(1);
    for (const one of findings.filter(({ status }) => !["ok", "note"].includes(status))) {
      expect(one.fix?.length, one.id).toBeGreaterThan(10);
    }
    expect(text).toContain("This machine cannot share BARs as it is: there is no /dev/vfio");
  });

  test("domains that are neither translating nor identity are not called translating", async () => {
    for (const type of ["blocked", "unmanaged"]) {
      const { findings } = await look(hostOf({ "/sys/kernel/iommu_groups/0/type": `${type}\n` }));
      const ids = findings
        .filter(({ id }) => id.startsWith("iommu."))
        .map(({ id, status }) => [id, status]);
      expect(ids).toEqual([["iommu.owned", "note"]]);
    }
  });

  test("without any /sys nothing is said of an IOMMU", async () => {
    const { out } = await runCli("doctor", "--root", scratch(), "--json");
    const { findings } = JSON.parse(out) as { findings: { id: string; status: string }[] };
    expect(findings.find(({ id }) => id === "iommu")?.status).toBe("unknown");
  });

  const cases: readonly (readonly [
    string,
    Record<string, string | undefined>,
    string,
    string,
    RegExp,
  ])[] = [
    [
      "kernel too old",
      { "/proc/sys/kernel/osrelease": "6.18.1\n", "/boot/config-6.18.1": config },
      "kernel.version",
      "fail",
      /7\.2/,
    ],
    [
      "kernel before the fixes",
      { "/proc/sys/kernel/osrelease": "6.19.3\n", "/boot/config-6.19.3": config },
      "kernel.fixes",
      "warn",
      /backport/,
    ],
    [
      "no iommufd in the kernel",
      {
        "/boot/config-7.2.13-amd64": config.replace(
          "CONFIG_IOMMUFD=y",
          "# CONFIG_IOMMUFD is not set",
        ),
      },
      "config.CONFIG_IOMMUFD",
      "fail",
      /CONFIG_IOMMUFD=y/,
    ],
    [
      "no configuration anywhere",
      { "/boot/config-7.2.13-amd64": undefined },
      "config",
      "unknown",
      /modprobe configs/,
    ],
    [
      "module not loaded",
      {
        "/sys/module/vfio_pci/uevent": undefined,
        "/lib/modules/7.2.13-amd64/modules.dep": "kernel/drivers/vfio/pci/vfio-pci.ko.xz:\n",
      },
      "config.CONFIG_VFIO_PCI",
      "warn",
      /^modprobe vfio-pci$/,
    ],
    [
      "module not installed",
      { "/sys/module/vfio_pci/uevent": undefined },
      "config.CONFIG_VFIO_PCI",
      "fail",
      /install the modules/,
    ],
    [
      "booted with nomodule",
      { "/sys/module/vfio_pci/uevent": undefined, "/proc/cmdline": "nomodule" },
      "config.CONFIG_VFIO_PCI",
      "fail",
      /without nomodule/,
    ],
    [
      "groups without a type",
      {
        "/sys/kernel/iommu_groups/0/type": undefined,
        "/sys/kernel/iommu_groups/0/reserved_regions": "",
      },
      "iommu.mode",
      "unknown",
      /iommu_groups/,
    ],
    [
      "IOMMU turned off",
      {
        "/sys/class/iommu/dmar0/uevent": undefined,
        "/sys/kernel/iommu_groups/0/type": undefined,
        "/proc/cmdline": "quiet intel_iommu=off",
      },
      "iommu",
      "fail",
      /without intel_iommu=off/,
    ],
    [
      "passthrough",
      { "/sys/kernel/iommu_groups/0/type": "identity\n" },
      "iommu.mode",
      "note",
      /passthrough=0/,
    ],
    [
      "an ordinary user",
      { "/proc/self/status": "CapEff:\t0000000000000000\n" },
      "privilege.sysAdmin",
      "unknown",
      /sudo peerbar doctor/,
    ],
    [
      "little locked memory",
      {
        "/proc/self/status": "CapEff:\t0000000000200000\n",
        "/proc/self/limits": "Max locked memory         8388608   8388608   bytes\n",
      },
      "limit.memlock",
      "warn",
      /LimitMEMLOCK/,
    ],
    [
      "no vfio device",
      { "/dev/vfio/devices/vfio0": undefined, "/dev/vfio/vfio": "" },
      "node./dev/vfio/devices",
      "warn",
      /driver_override/,
    ],
  ];
  test.each(cases)("%s", async (_, changes, id, status, fix) => {
    const { findings } = await look(hostOf(changes));
    const found = findings.find((one) => one.id === id);
    expect(found?.status).toBe(status);
    expect(found?.fix).toMatch(fix);
  });

  test("nodes that are not ours to open say which, and how to change that", async () => {
    const { findings, code } = await look(
      hostOf({}, undefined, ["/dev/iommu", "/dev/vfio/devices/vfio0"]),
    );
    expect(code).toBe(1);
    const refused = findings.filter((one) => one.status === "fail").map((one) => one.what);
    expect(refused).toEqual([
      "/dev/vfio/devices/vfio0 is there, and you may not read and write it",
      "/dev/iommu is there, and you may not read and write it",
    ]);
  });

  test("ACS on the ways between GPUs, NICs and drives", async () => {
    const { findings } = await look(hostOf({}, generateServer({ acs: "mixed" })));
    const acs = findings.find((one) => one.id === "acs.redirect");
    expect(acs?.status).toBe("warn");
    expect(acs?.fix).toMatch(/pci=disable_acs_redir=0000:52:00\.0;/);
  });

  test("no way at all between the devices is a failure", async () => {
    const { findings, code } = await look(
      hostOf({}, generateServer({ acs: "on", hostBridges: "unlisted" })),
    );
    expect(code).toBe(1);
    expect(findings.find((one) => one.id === "paths")?.status).toBe("fail");
  });

  test("--root reads another root file system, configuration packed or plain", async () => {
    const root = scratch();
    const put = (path: string, content: string | Uint8Array): void => {
      mkdirSync(dirname(join(root, path)), { recursive: true });
      writeFileSync(join(root, path), content);
    };
    put("/proc/sys/kernel/osrelease", "7.2.13\n");
    put("/proc/config.gz", gzipSync(config.replace("CONFIG_UDMABUF=y", "")));
    const { code, out } = await runCli("doctor", "--root", root, "--json");
    expect(code).toBe(1);
    const { findings, source } = JSON.parse(out) as {
      findings: Finding[];
      source: { name: string };
    };
    expect(source.name).toBe(root);
    const status = (id: string): string | undefined =>
      findings.find((one) => one.id === id)?.status;
    expect(status("kernel.version")).toBe("ok");
    expect(status("config.CONFIG_IOMMUFD")).toBe("ok");
    expect(status("config.CONFIG_UDMABUF")).toBe("warn");
    expect(status("node./dev/vfio")).toBe("fail");
    expect(status("pci")).toBe("fail");
  });

  test("a root that is not there: one line, exit 2", async () => {
    const { code, err } = await runCli("doctor", "--root", "/nonexistent");
    expect(code).toBe(2);
    expect(err).toMatch(/^peerbar: ENOENT: doctor: [^\n]+; [^\n]+\n$/);
  });

  test("this machine, whatever it is: an answer and a fix for each failure", async () => {
    const { code, out, err } = await runCli("doctor");
    expect([0, 1, 3]).toContain(code);
    expect(err).toBe("");
    const lines = out.split("\n");
    for (const [i, line] of lines.entries()) {
      if (!line.startsWith("  FAIL")) continue;
      const next = lines.slice(i + 1).find((one) => !/^ {8}(?!fix:)/.test(one));
      expect(next).toContain("fix: ");
    }
  });
});
