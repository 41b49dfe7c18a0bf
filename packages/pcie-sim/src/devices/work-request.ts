import type { DmaAddr } from "@peerbar/core";
import type { DmaSegment } from "../transfer.js";

/** What a send queue entry asks for. */
export const nicOpcodes = { write: 0, send: 2, read: 4 } as const;

/** Completion status, with the numbers of verbs (`enum ibv_wc_status`). */
export const nicStatus = {
  success: 0,
  localLength: 1,
  localQueue: 2,
  localProtection: 4,
  flushed: 5,
  remoteAccess: 10,
  remoteOperation: 11,
  receiverNotReady: 13,
} as const;

export const WORK_BYTES = 64;
export const CQE_BYTES = 32;
/** A receive queue entry: `local` of a {@link WorkRequest}, and its id. */
export const RECEIVE_BYTES = 32;

/** A piece of registered memory: address in the key's own space, length, key. */
export interface KeyedRange {
  /** Address in the key's own space, in bytes. */
  readonly address: bigint;
  /** Bytes. */
  readonly length: number;
  /** Key of the registered memory. */
  readonly key: number;
}

/** What a NIC is asked to do: one entry of a send queue. */
export interface WorkRequest {
  /** What to do, as the NIC numbers it. */
  readonly opcode: number;
  /** The caller's, in the completion again. */
  readonly id: number;
  readonly local: KeyedRange;
  readonly remote: { readonly address: bigint; readonly key: number };
}

/** One entry of a send queue. */
export function encodeWork(request: WorkRequest): Uint8Array {
  const entry = new Uint8Array(WORK_BYTES);
  const view = new DataView(entry.buffer);
  view.setUint32(0, request.opcode, true);
  view.setUint32(4, request.id, true);
  putRange(view, 8, request.local);
  view.setBigUint64(24, request.remote.address, true);
  view.setUint32(32, request.remote.key, true);
  return entry;
}

export function decodeWork(entry: Uint8Array): WorkRequest {
  const view = new DataView(entry.buffer, entry.byteOffset, WORK_BYTES);
  return {
    opcode: view.getUint32(0, true),
    id: view.getUint32(4, true),
    local: getRange(view, 8),
    remote: { address: view.getBigUint64(24, true), key: view.getUint32(32, true) },
  };
}

/** One entry of a receive queue. */
export function encodeReceive(id: number, local: KeyedRange): Uint8Array {
  const entry = new Uint8Array(RECEIVE_BYTES);
  const view = new DataView(entry.buffer);
  view.setUint32(0, id, true);
  putRange(view, 8, local);
  return entry;
}

export function decodeReceive(entry: Uint8Array): {
  readonly id: number;
  readonly local: KeyedRange;
} {
  const view = new DataView(entry.buffer, entry.byteOffset, RECEIVE_BYTES);
  return { id: view.getUint32(0, true), local: getRange(view, 8) };
}

/** What a completion queue entry says. */
export interface WorkCompletion {
  /** Id of the work request, or of the receive entry. */
  readonly id: number;
  /** How it ended, as the NIC numbers it; 0 is success. */
  readonly status: number;
  /** Bytes moved. */
  readonly length: number;
  /** Number of the queue pair. */
  readonly queue: number;
  /** 1 on the first pass over the ring, then alternating: tells new entries from old ones. */
  readonly phase: number;
}

export function encodeCompletion(completion: WorkCompletion): Uint8Array {
  const entry = new Uint8Array(CQE_BYTES);
  const view = new DataView(entry.buffer);
  const { id, status, length, queue, phase } = completion;
  for (const [i, word] of [id, status, length, queue, phase].entries())
    view.setUint32(4 * i, word, true);
  return entry;
}

/** Reads one completion queue entry. */
export function decodeCompletion(entry: Uint8Array): WorkCompletion {
  const view = new DataView(entry.buffer, entry.byteOffset, CQE_BYTES);
  const word = (i: number): number => view.getUint32(4 * i, true);
  return { id: word(0), status: word(1), length: word(2), queue: word(3), phase: word(4) };
}

function putRange(view: DataView, at: number, { address, length, key }: KeyedRange): void {
  view.setBigUint64(at, address, true);
  view.setUint32(at + 8, length, true);
  view.setUint32(at + 12, key, true);
}

function getRange(view: DataView, at: number): KeyedRange {
  return {
    address: view.getBigUint64(at, true),
    length: view.getUint32(at + 8, true),
    key: view.getUint32(at + 12, true),
  };
}

/** Registered memory of a NIC. */
export interface NicKey {
  /** First address that requests use for it. */
  readonly start: bigint;
  /** Where it is: DMA addresses of this NIC, in order. */
  readonly segments: readonly DmaSegment[];
  readonly remoteRead: boolean;
  readonly remoteWrite: boolean;
}

/** The part of a key's memory that a range names; undefined outside. */
export function segmentsOf(key: NicKey, address: bigint, length: number): DmaSegment[] | undefined {
  if (address < key.start) return undefined;
  let skip = address - key.start;
  let left = length;
  const found: DmaSegment[] = [];
  for (const segment of key.segments) {
    if (left === 0) break;
    const size = BigInt(segment.length);
    if (skip >= size) {
      skip -= size;
      continue;
    }
    const now = Math.min(segment.length - Number(skip), left);
    found.push({ address: (segment.address + skip) as DmaAddr, length: now });
    skip = 0n;
    left -= now;
  }
  return left === 0 ? found : undefined;
}
