/**
 * Descriptors whose exporter the kernel itself revokes (vfio-pci, the iommufd selftest): an address space that has them mapped loses its
 * translations inside the kernel (iommufd R14), and nobody need help.
 */
const descriptors = new Set<number>();

/** @returns takes the descriptor out again, before it is closed. */
export function markKernelRevoked(fd: number): () => void {
  descriptors.add(fd);
  return () => {
    descriptors.delete(fd);
  };
}

export function isKernelRevoked(fd: number): boolean {
  return descriptors.has(fd);
}
