import { isDmaBufError } from "@peerbar/core";
import { matrix, P2pdma, type PciFunctionInfo, type PciTopology } from "@peerbar/p2pdma";
import { kindOf } from "@peerbar/words";
import { plural } from "../wrap.js";
import type { Finding } from "./finding.js";
import type { Host } from "./host.js";

/** Drivers that do not stand in the way of a group's use by vfio. */
const harmless = new Set(["vfio-pci", "pcieport", "pci-stub"]);

/** GPUs, NICs and NVMe drives: who drives them, who shares their group, and which ways between them are open. */
export async function checkDevices(host: Host): Promise<Finding[]> {
  let topology: PciTopology;
  try {
    topology = await host.topology();
  } catch (error) {
    const reason = isDmaBufError(error) ? error.reason : String(error);
    return [
      {
        id: "pci",
        status: "fail",
        what: `no PCI devices: ${reason}`,
        fix: "run it on the host rather than in a container without /sys",
      },
    ];
  }
  const devices = topology.endpoints().filter((fn) => {
    const kind = kindOf(fn);
    return kind !== undefined && kind !== "storage";
  });
  if (devices.length === 0) {
    return [
      {
        id: "pci.devices",
        status: "fail",
        what: `${plural(topology.functions.length, "PCI function")}, none of them a GPU, NIC or NVMe drive`,
        fix: "plug one in, or pass one to this VM",
      },
    ];
  }
  return [...binding(topology, devices), ...ways(topology, devices)];
}

function binding(topology: PciTopology, devices: readonly PciFunctionInfo[]): Finding[] {
  const bound = topology.functions.filter((fn) => fn.driver === "vfio-pci");
  const list = devices.map((fn) => `${fn.address} ${kindOf(fn) ?? ""} ${fn.driver ?? "no driver"}`);
  const shown =
    list.slice(0, 6).join(", ") + (list.length > 6 ? ` and ${String(list.length - 6)} more` : "");
  const findings: Finding[] = [];
  if (bound.length === 0) {
    findings.push({
      id: "driver",
      status: "warn",
      what: `no function is bound to vfio-pci (${shown})`,
      fix: "for the exporter, which must be no device this system runs on: echo vfio-pci >/sys/bus/pci/devices/BDF/driver_override; echo BDF >/sys/bus/pci/devices/BDF/driver/unbind; echo BDF >/sys/bus/pci/drivers_probe",
    });
  } else {
    const names = bound.map((fn) => fn.address).join(", ");
    findings.push({ id: "driver", status: "ok", what: `bound to vfio-pci: ${names}` });
  }
  for (const fn of bound) findings.push(...groupMates(topology, fn));
  return findings;
}

/** A group is usable by vfio only when no other driver holds a function of it. */
function groupMates(topology: PciTopology, fn: PciFunctionInfo): Finding[] {
  if (fn.iommuGroup === undefined) return [];
  const mates = topology.functions.filter(
    (other) =>
      other.iommuGroup === fn.iommuGroup &&
      other.driver !== undefined &&
      !harmless.has(other.driver),
  );
  const [first] = mates;
  if (first === undefined) return [];
  const names = mates.map((mate) => `${mate.address} (${mate.driver ?? ""})`).join(", ");
  return [
    {
      id: `group.${String(fn.iommuGroup)}`,
      status: "fail",
      what: `${fn.address} shares IOMMU group ${String(fn.iommuGroup)} with ${names}: the group is not viable for vfio`,
      fix: `unbind it or bind it to vfio-pci too: echo ${first.address} >/sys/bus/pci/devices/${first.address}/driver/unbind`,
    },
  ];
}

function ways(topology: PciTopology, devices: readonly PciFunctionInfo[]): Finding[] {
  const p2pdma = new P2pdma(topology);
  const pairs = matrix(p2pdma, devices);
  const ports = new Set<string>();
  const unseen = new Set<string>();
  const count = { "bus-addr": 0, "thru-host-bridge": 0, "not-supported": 0, unknown: 0 };
  for (let row = 0; row < pairs.size; row += 1) {
    for (let column = 0; column < pairs.size; column += 1) {
      if (row === column) continue;
      const decision = pairs.decisionAt(row, column);
      count[decision.mapType] += 1;
      for (const address of decision.acsRedirect) ports.add(address);
      for (const address of decision.acsUnknown ?? []) unseen.add(address);
    }
  }
  const open = count["bus-addr"] + count["thru-host-bridge"];
  const sums = `${String(count["bus-addr"])} switch-local, ${String(count["thru-host-bridge"])} through the host bridge, ${String(count["not-supported"])} not supported, ${String(count.unknown)} not known`;
  const findings: Finding[] = [reach(open, count.unknown, sums, devices.length)];
  if (ports.size > 0) findings.push(redirecting([...ports].sort()));
  if (unseen.size > 0) {
    findings.push({
      id: "acs.unknown",
      status: "unknown",
      what: `ACS of ${plural(unseen.size, "function")} on the way is not shown: ${[...unseen].sort().slice(0, 4).join(", ")}${unseen.size > 4 ? ", ..." : ""}`,
      fix: "run it as root: their extended config space needs CAP_SYS_ADMIN",
    });
  }
  return findings;
}

function reach(open: number, unknown: number, sums: string, devices: number): Finding {
  const id = "paths";
  const what = `ordered pairs of ${String(devices)} GPUs, NICs and NVMe drives: ${sums}`;
  if (devices < 2)
    return { id, status: "note", what: "one device only: there is no peer to share with" };
  if (open > 0) return { id, status: "ok", what };
  return unknown > 0
    ? {
        id,
        status: "unknown",
        what,
        fix: "run it as root, then ask for one pair: peerbar why PROVIDER CLIENT",
      }
    : {
        id,
        status: "fail",
        what,
        fix: "move two devices below one switch or root port; peerbar why PROVIDER CLIENT names the rule for one pair",
      };
}

function redirecting(ports: readonly string[]): Finding {
  const list =
    ports.slice(0, 4).join(", ") +
    (ports.length > 4 ? ` and ${String(ports.length - 4)} more` : "");
  return {
    id: "acs.redirect",
    status: "warn",
    what: `ACS at ${list} sends peer traffic up through the host bridge`,
    fix: `kernel command line: pci=disable_acs_redir=${ports.join(";")} (functions below share an IOMMU group then: see peerbar what-if --acs BDF=off)`,
  };
}
