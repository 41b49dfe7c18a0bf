import type { DmaBuf } from "./dma-buf.js";
import type { FenceUsage } from "./fence.js";

/** One attachment in a listing. */
export interface AttachmentInfo {
  /** Name of the attachment, unique in its buffer. */
  readonly name: string;
  readonly device: string;
  readonly kind: string;
  readonly peer2peer: boolean;
  /** Tables mapped now. */
  readonly mappings: number;
  /** Pins held now (dma-buf R20). */
  readonly pins: number;
}

/** One live buffer in a listing. */
export interface BufferInfo {
  /** Inode number, as fdinfo and events name the buffer. */
  readonly inode: number;
  /** Bytes. */
  readonly size: bigint;
  /** Open flags (O_RDWR and others), as fdinfo shows them. */
  readonly flags: number;
  /** References. */
  readonly count: number;
  readonly exporter: string;
  /** What the exporter called it, for events. */
  readonly label: string;
  /** What its users called it; undefined where nobody did. */
  readonly name: string | undefined;
  readonly locked: boolean;
  readonly attachments: readonly AttachmentInfo[];
  /** Sums over the attachments. */
  readonly mappings: number;
  /** Pins of all attachments. */
  readonly pins: number;
  /** Kernel views. */
  readonly vmaps: number;
  readonly fences: readonly {
    readonly name: string;
    readonly usage: FenceUsage;
    readonly signaled: boolean;
  }[];
}

/**
 * The buffers that live now: what `/sys/kernel/debug/dma_buf/bufinfo` shows (dma-buf R52). Given to {@link DmaBuf.export}, never global.
 * A buffer leaves the list just before its exporter's release runs (dma-buf R7).
 */
export class DmaBufRegistry {
  readonly #buffers = new Set<DmaBuf>();

  /** Number of live buffers. */
  get size(): number {
    return this.#buffers.size;
  }

  /** Sum of their sizes, in bytes. */
  get bytes(): bigint {
    let sum = 0n;
    for (const { size } of this.#buffers) sum += size;
    return sum;
  }

  /** A snapshot, oldest buffer first. */
  list(): readonly BufferInfo[] {
    return [...this.#buffers].map(describeBuffer);
  }

  /** The listing as text, for people: one block a buffer, then the totals. */
  toString(): string {
    const blocks = this.list().map(formatBuffer);
    return `${[...blocks, `${String(this.size)} buffers, ${String(this.bytes)} bytes`].join("\n\n")}\n`;
  }

  /** @internal {@link DmaBuf.export} alone. */
  add(buffer: DmaBuf): void {
    this.#buffers.add(buffer);
  }

  /** @internal The buffer's release alone. */
  remove(buffer: DmaBuf): void {
    this.#buffers.delete(buffer);
  }
}

/** Everything a listing shows of one buffer. */
export function describeBuffer(buffer: DmaBuf): BufferInfo {
  const attachments = [...buffer.attachments].map(
    ({ name, device, kind, peer2peer, mappings, pins }): AttachmentInfo => ({
      name,
      device: device.name,
      kind,
      peer2peer,
      mappings,
      pins,
    }),
  );
  return {
    inode: buffer.inode,
    size: buffer.size,
    flags: buffer.flags,
    count: buffer.references,
    exporter: buffer.ops.name,
    label: buffer.label,
    name: buffer.name,
    locked: buffer.reservation.isLocked,
    attachments,
    mappings: attachments.reduce((sum, { mappings }) => sum + mappings, 0),
    pins: attachments.reduce((sum, { pins }) => sum + pins, 0),
    vmaps: buffer.vmaps,
    fences: buffer.reservation.fences.map(({ fence, usage }) => ({
      name: fence.name,
      usage,
      signaled: fence.signaled,
    })),
  };
}

/** The lines that the buffer's file has in `/proc/PID/fdinfo` (dma-buf R51). */
export function fdinfo(buffer: DmaBuf): string {
  const lines = [
    `size:\t${String(buffer.size)}`,
    `count:\t${String(buffer.references)}`,
    `exp_name:\t${buffer.ops.name}`,
  ];
  if (buffer.name !== undefined) lines.push(`name:\t${buffer.name}`);
  return `${lines.join("\n")}\n`;
}

function formatBuffer(info: BufferInfo): string {
  const name = info.name === undefined ? "" : ` name ${info.name}`;
  return [
    `ino ${String(info.inode)} size ${String(info.size)} count ${String(info.count)} exporter ${info.exporter}${name}`,
    ...info.fences.map(
      ({ name: fence, usage, signaled }) =>
        `  fence ${fence} ${usage}${signaled ? " signalled" : ""}`,
    ),
    ...info.attachments.map(
      ({ name: attachment, kind, peer2peer, mappings, pins }) =>
        `  attached ${attachment} ${kind}${peer2peer ? " p2p" : ""} mappings ${String(mappings)} pins ${String(pins)}`,
    ),
    `  ${String(info.attachments.length)} devices attached`,
  ].join("\n");
}
