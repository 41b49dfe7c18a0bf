import type { KernelFiles } from "./kernel-files.js";

/**
 * What of this machine would break if the device were taken from its driver: mounted file systems that live on it, and network
 * interfaces that are up. Layers such as LVM, RAID and dm-crypt are looked through.
 */
export function usersOf(files: KernelFiles, address: string): readonly string[] {
  return [...mountsOn(files, address), ...interfacesUp(files, address)];
}

function* mountsOn(files: KernelFiles, address: string): Iterable<string> {
  for (const line of (files.read("/proc/self/mountinfo") ?? "").split("\n")) {
    // ID, parent, major:minor, root, mount point.
    const [, , number, , point] = line.split(" ");
    if (number === undefined || point === undefined || !/^\d+:\d+$/.test(number)) continue;
    if (leadsTo(files, `/sys/dev/block/${number}`, address, 0)) yield `${point} is mounted from it`;
  }
}

/** Block devices stack a few layers deep; the bound ends a cycle that cannot be. */
const LAYERS = 8;

function leadsTo(files: KernelFiles, path: string, address: string, depth: number): boolean {
  const target = files.link(path);
  if (target?.includes(`/${address}/`) === true) return true;
  if (depth === LAYERS) return false;
  return (files.list(`${path}/slaves`) ?? []).some((name) =>
    leadsTo(files, `${path}/slaves/${name}`, address, depth + 1),
  );
}

function* interfacesUp(files: KernelFiles, address: string): Iterable<string> {
  for (const name of files.list(`/sys/bus/pci/devices/${address}/net`) ?? []) {
    const state = files.read(`/sys/class/net/${name}/operstate`)?.trim();
    if (state === "up") yield `network interface ${name} is up`;
  }
}
