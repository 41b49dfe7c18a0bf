import { type DmaAddr, PAGE_SIZE } from "@peerbar/core";
import type { SimDmaEngine } from "../dma-engine.js";
import type { DmaOptions, DmaSegment } from "../transfer.js";
import { decodePrpList, type NvmeCommand, nvmeStatus, PRP_LIST_ENTRIES } from "./nvme-command.js";

/** Where the data of a command is: PRP 1, then PRP 2 or the list that it leads to, read by the controller. A number is a status. @throws as the engine. */
export async function prpSegments(
  engine: SimDmaEngine,
  { prp1, prp2 }: NvmeCommand,
  length: number,
  options: DmaOptions,
): Promise<DmaSegment[] | number> {
  const first = Math.min(length, PAGE_SIZE - Number(prp1 & 0xfffn));
  const segments: DmaSegment[] = [{ address: prp1, length: first }];
  const pages = Math.ceil((length - first) / PAGE_SIZE);
  if (pages === 0) return segments;
  let addresses: DmaAddr[] = [prp2];
  if (pages > 1) {
    if (pages > PRP_LIST_ENTRIES || (prp2 & 0xfffn) !== 0n) return nvmeStatus.invalidField;
    const list = new Uint8Array(pages * 8);
    if ((await engine.read(prp2, list, options)).status !== "ok") {
      return nvmeStatus.dataTransferError;
    }
    addresses = decodePrpList(list, pages);
  }
  let left = length - first;
  for (const address of addresses) {
    if ((address & 0xfffn) !== 0n) return nvmeStatus.invalidField;
    segments.push({ address, length: Math.min(left, PAGE_SIZE) });
    left -= PAGE_SIZE;
  }
  return segments;
}
