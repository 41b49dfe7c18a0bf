import { describe, expect, test } from "vitest";
import { layouts, machineByName, machines } from "../src/machines.mjs";
import { kernelCommandLine, qemuArguments } from "../src/qemu-args.mjs";

const boot = {
  image: "/k/bzImage",
  jobFolder: "/tmp/job",
  init: "/repo/init",
  accel: "tcg",
  cpus: 2,
  memoryMiB: 1024,
};
const args = (name, more = {}) => qemuArguments(machineByName(name), { ...boot, ...more });
const values = (list, flag) => list.flatMap((word, at) => (list[at - 1] === flag ? [word] : []));
const devices = (name) => values(args(name), "-device");

describe("each machine's command line", () => {
  test.each(machines.map((machine) => machine.name))(
    "%s: ids are unique, buses exist before use, the root cannot be written",
    (name) => {
      const list = args(name);
      const ids = values(list, "-device").flatMap((text) => /,id=([^,]+)/.exec(text)?.[1] ?? []);
      expect(new Set(ids).size).toBe(ids.length);
      const known = new Set(["pcie.0"]);
      for (const text of devices(name)) {
        const bus = /,bus=([^,]+)/.exec(text)?.[1];
        if (bus !== undefined) expect(known, text).toContain(bus);
        const id = /,id=([^,]+)/.exec(text)?.[1];
        if (id !== undefined) known.add(id);
      }
      expect(values(list, "-fsdev")).toContainEqual(
        expect.stringMatching(/^local,id=root,path=\/,.*readonly=on/),
      );
      expect(list).toContain("-no-reboot");
      expect(list.join(" ")).not.toMatch(/-netdev|-nic/);
    },
  );

  test.each(machines.map((machine) => machine.name))(
    "%s: no slot of a bus is taken twice",
    (name) => {
      const slots = devices(name).flatMap((text) => {
        const bus = /,bus=([^,]+)/.exec(text)?.[1];
        const at = /,addr=([^,]+)/.exec(text)?.[1];
        return bus === undefined || at === undefined
          ? []
          : [`${bus} ${Number.parseInt(at, 16)}.${at.split(".")[1] ?? 0}`];
      });
      expect(new Set(slots).size).toBe(slots.length);
    },
  );

  test("the names are unique, and every layout is used", () => {
    expect(new Set(machines.map((machine) => machine.name)).size).toBe(machines.length);
    expect(new Set(machines.map((machine) => machine.layout))).toEqual(
      new Set(Object.keys(layouts)),
    );
  });
});

test("the modes of the IOMMU", () => {
  const line = (name) => kernelCommandLine(machineByName(name), boot);
  expect(line("switch")).toContain("intel_iommu=on iommu.strict=0");
  expect(line("switch-strict")).toContain("intel_iommu=on iommu.strict=1");
  expect(line("switch-pt")).toContain("intel_iommu=on iommu=pt");
  expect(line("switch-off")).toContain("intel_iommu=off");
  expect(line("switch-none")).not.toContain("iommu=");
  expect(devices("switch-none").join(" ")).not.toMatch(/iommu/);
  expect(devices("switch-virtio").join(" ")).toContain("virtio-iommu-pci");
  expect(devices("switch-amd").join(" ")).toContain("amd-iommu");
});

test("processors: Zen, and one whose host bridge p2pdma does not list", () => {
  expect(values(args("switch"), "-cpu")).toEqual(["EPYC"]);
  expect(values(args("switch-intel"), "-cpu")).toEqual(["Skylake-Server"]);
});

test("ports with and without ACS", () => {
  const ports = (name) => devices(name).filter((text) => text.startsWith("pcie-root-port"));
  expect(ports("switch").some((text) => text.includes("disable-acs"))).toBe(false);
  expect(ports("no-acs").every((text) => text.includes("disable-acs=on"))).toBe(true);
  expect(kernelCommandLine(machineByName("acs-off"), boot)).toContain(
    "pci=disable_acs_redir=pci:0:0",
  );
});

test("root complexes have buses and NUMA nodes of their own", () => {
  const list = args("roots");
  expect(devices("roots").filter((text) => text.startsWith("pxb-pcie"))).toEqual([
    "pxb-pcie,id=pxb0,bus=pcie.0,addr=11,bus_nr=64,numa_node=0",
    "pxb-pcie,id=pxb1,bus=pcie.0,addr=12,bus_nr=128,numa_node=1",
  ]);
  expect(values(list, "-numa")).toHaveLength(2);
});

test("memory behind a BAR is a file of the job's folder, and a CMB has a disk", () => {
  expect(values(args("switch"), "-object")).toContain(
    "memory-backend-file,id=ram-ivshmem0,mem-path=/tmp/job/memory-ivshmem0,size=4M,share=on",
  );
  expect(devices("cmb").filter((text) => /^nvme,.*cmb_size_mb=16/.test(text))).toHaveLength(2);
});

test("KVM keeps the interrupt controller split, TCG has none to split", () => {
  expect(values(args("switch", { accel: "kvm" }), "-machine")).toEqual([
    "q35,accel=kvm,kernel_irqchip=split",
  ]);
  expect(values(args("switch"), "-machine")).toEqual(["q35,accel=tcg,kernel_irqchip=off"]);
});

test("an unknown machine names those that exist", () => {
  expect(() => machineByName("swich")).toThrow(/no machine is called swich; there are switch,/);
});
