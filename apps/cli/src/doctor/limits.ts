import type { Finding } from "./finding.js";
import type { Host } from "./host.js";

const CAP_IPC_LOCK = 14n;
const CAP_SYS_ADMIN = 21n;
/** Below this not even a small guest or queue pair can be pinned. */
const SMALL = 64 * 2 ** 20;

function hasCapability(host: Host, bit: bigint): boolean {
  const mask = /^CapEff:\s*([0-9a-f]+)/m.exec(host.text("/proc/self/status") ?? "")?.[1];
  return mask !== undefined && ((BigInt(`0x${mask}`) >> bit) & 1n) === 1n;
}

/** The locked-memory limit and the privilege to read config space. */
export function checkLimits(host: Host): Finding[] {
  return [privilege(host), memlock(host)];
}

function privilege(host: Host): Finding {
  const id = "privilege.sysAdmin";
  return hasCapability(host, CAP_SYS_ADMIN)
    ? { id, status: "ok", what: "CAP_SYS_ADMIN: config space and with it ACS can be read" }
    : {
        id,
        status: "unknown",
        what: "without CAP_SYS_ADMIN the kernel shows 64 bytes of config space: ACS is not shown (p2pdma R29)",
        fix: "run it as root: sudo peerbar doctor",
      };
}

/** dma-bufs are not charged (iommufd R8); the system memory that guests and queue pairs pin is. */
function memlock(host: Host): Finding {
  const id = "limit.memlock";
  const soft = /^Max locked memory\s+(\S+)/m.exec(host.text("/proc/self/limits") ?? "")?.[1];
  if (soft === undefined) {
    return {
      id,
      status: "unknown",
      what: "the limit of locked memory is not shown",
      fix: "mount /proc, or look with: ulimit -l",
    };
  }
  if (soft === "unlimited") return { id, status: "ok", what: "locked memory: unlimited" };
  const mebibytes = (Number(soft) / 2 ** 20).toFixed(0);
  if (hasCapability(host, CAP_IPC_LOCK)) {
    return {
      id,
      status: "ok",
      what: `locked memory: ${mebibytes} MiB, but CAP_IPC_LOCK lifts the limit for RDMA; vfio and iommufd count it for users without it`,
    };
  }
  return {
    id,
    status: Number(soft) < SMALL ? "warn" : "note",
    what: `locked memory: ${mebibytes} MiB; BARs are not charged, the memory of guests and queue pairs is (iommufd R8)`,
    fix: "ulimit -l unlimited; to keep it: LimitMEMLOCK=infinity in the systemd unit, or a memlock line in /etc/security/limits.d",
  };
}
