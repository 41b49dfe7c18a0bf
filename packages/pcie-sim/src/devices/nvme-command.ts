import { busAddr, type DmaAddr, PAGE_SIZE } from "@peerbar/core";

/** Status of a completion: status code type in bits 10:8, status code in 7:0 (NVMe base specification, completion queue entry). */
export const nvmeStatus = {
  success: 0x000,
  invalidOpcode: 0x001,
  invalidField: 0x002,
  dataTransferError: 0x004,
  lbaOutOfRange: 0x080,
  completionQueueInvalid: 0x100,
  invalidQueueId: 0x101,
  invalidQueueSize: 0x102,
} as const;

/** Opcodes of the admin queue (NVMe base specification). */
export const adminOpcodes = {
  deleteSubmissionQueue: 0x00,
  createSubmissionQueue: 0x01,
  deleteCompletionQueue: 0x04,
  createCompletionQueue: 0x05,
  identify: 0x06,
} as const;

/** Opcodes of I/O queues (NVM command set). */
export const ioOpcodes = { flush: 0x00, write: 0x01, read: 0x02 } as const;

export const SUBMISSION_BYTES = 64;
export const COMPLETION_BYTES = 16;

/** One submission queue entry. */
export interface NvmeCommand {
  /** Opcode, 8 bits, of the admin or the I/O set by the queue it is in. */
  readonly opcode: number;
  /** Command ID, 16 bits: the completion has the same. */
  readonly id: number;
  /** Namespace ID (NSID); there is one, 1. */
  readonly namespace: number;
  /** First PRP entry: where the data begins, in bytes. */
  readonly prp1: DmaAddr;
  /** Second PRP entry: the second page, or a list of more. */
  readonly prp2: DmaAddr;
  /** Command dword 10; of reads and writes the low half of the first block. */
  readonly dword10: number;
  /** Command dword 11; of reads and writes the high half of the first block. */
  readonly dword11: number;
  /** Command dword 12; of reads and writes the blocks less one, in the low 16 bits. */
  readonly dword12: number;
}

export function decodeCommand(entry: Uint8Array): NvmeCommand {
  const view = new DataView(entry.buffer, entry.byteOffset, SUBMISSION_BYTES);
  const word = view.getUint32(0, true);
  return {
    opcode: word & 0xff,
    id: word >>> 16,
    namespace: view.getUint32(4, true),
    prp1: busAddr(view.getBigUint64(24, true)),
    prp2: busAddr(view.getBigUint64(32, true)),
    dword10: view.getUint32(40, true),
    dword11: view.getUint32(44, true),
    dword12: view.getUint32(48, true),
  };
}

/** One submission queue entry, 64 bytes; what is left out is 0, the namespace 1. */
export function encodeCommand(command: Partial<NvmeCommand>): Uint8Array {
  const entry = new Uint8Array(SUBMISSION_BYTES);
  const view = new DataView(entry.buffer);
  view.setUint32(0, ((command.opcode ?? 0) | ((command.id ?? 0) << 16)) >>> 0, true);
  view.setUint32(4, command.namespace ?? 1, true);
  view.setBigUint64(24, command.prp1 ?? 0n, true);
  view.setBigUint64(32, command.prp2 ?? 0n, true);
  view.setUint32(40, command.dword10 ?? 0, true);
  view.setUint32(44, command.dword11 ?? 0, true);
  view.setUint32(48, command.dword12 ?? 0, true);
  return entry;
}

/** Pages of a PRP list that one command may have: 2 MiB with the first. */
export const PRP_LIST_ENTRIES = PAGE_SIZE / 8;

/** Reads a PRP list page as addresses. */
export function decodePrpList(page: Uint8Array, count: number): DmaAddr[] {
  const view = new DataView(page.buffer, page.byteOffset, page.length);
  return Array.from({ length: count }, (_, i) => busAddr(view.getBigUint64(8 * i, true)));
}
