import "./events.js";
import {
  type Attachment,
  type DmaBuf,
  DmaBufError,
  type DmaDirection,
  type ExporterOps,
  type Held,
  type InterconnectName,
  type Interconnects,
  type OpenInterconnectName,
  type PhysRange,
  ProtocolViolation,
  type ScatterTable,
  type WaitOptions,
  waitFor,
} from "@peerbar/core";
import type { AttachKind, TellsAttachKind } from "./attach-kind.js";
import type { BufferList, Draining } from "./buffer-list.js";
import type { BarSource, IovaPolicy } from "./iova-policy.js";

/** Ways a BAR is handed out. `phys` needs a single range; asking tells (vfio-pci-dmabuf R20). */
const OFFERS: readonly InterconnectName[] = ["sgt", "phys"];

/**
 * One exported buffer: what vfio-pci keeps beside the `dma_buf` (vfio-pci-dmabuf section 2), and its `dma_buf_ops` (R8: no pin, no mmap,
 * no CPU access). Ranges and provider are fixed for life, so attach and map never touch the device, which may be gone (known-bugs B60).
 */
export class BarBuffer implements ExporterOps, TellsAttachKind {
  /** The module that fdinfo names (vfio-pci-dmabuf R9). */
  readonly name = "vfio_pci_core";
  readonly source: BarSource;
  /** Device list this buffer is on; undefined once the device was closed, or the buffer released (vfio-pci-dmabuf R15, R28). */
  list: BufferList | undefined;
  /** What a trigger waits for on behalf of this buffer. */
  waitsFor: Draining["waitsFor"];
  readonly #policy: IovaPolicy;
  #dmabuf: DmaBuf | undefined;
  #revoked = false;
  /** False from the moment a revoke voids the mappings until the last of them is gone. */
  #drained = true;
  /** One for being mappable, one for each mapping: the kernel's kref (vfio-pci-dmabuf section 2). */
  #references = 1;
  #wakeDrain: (() => void) | undefined;

  constructor(source: BarSource, policy: IovaPolicy) {
    this.source = source;
    this.#policy = policy;
  }

  /** @internal Between export and this call nobody else can see the buffer. */
  bind(dmabuf: DmaBuf, list: BufferList, revoked: boolean): void {
    this.#dmabuf = dmabuf;
    this.list = list;
    this.#revoked = revoked;
  }

  get dmabuf(): DmaBuf {
    if (this.#dmabuf === undefined) {
      throw new ProtocolViolation("vfio-pci-dmabuf R15", "vfio.buffer", "not exported yet");
    }
    return this.#dmabuf;
  }

  get ranges(): readonly PhysRange[] {
    return this.source.ranges;
  }

  get revoked(): boolean {
    return this.#revoked;
  }

  /** False while a revoke has not seen the last mapping go. */
  get drained(): boolean {
    return this.#drained;
  }

  /** The kernel's kref: 1 plus the live mappings; 0 only inside a drain (vfio-pci-dmabuf R17). */
  get references(): number {
    return this.#references;
  }

  /** Mappings importers hold now. */
  get mappings(): number {
    return this.#wakeDrain === undefined ? this.#references - 1 : this.#references;
  }

  attachKind(attachment: Attachment): AttachKind {
    return this.#policy.kindOf(attachment);
  }

  offers(_attachment: Attachment): readonly InterconnectName[] {
    return OFFERS;
  }

  /** The three tests of vfio-pci-dmabuf R10, in their order. Whether peer-to-peer works is not asked here. */
  attach(attachment: Attachment): void {
    if (!attachment.peer2peer) {
      throw refuseAttach(
        "EOPNOTSUPP",
        `${attachment.device.name} does not take peer-to-peer memory`,
        {
          hint: "attach dynamically, with importer ops that allow peer-to-peer",
        },
      );
    }
    if (this.#revoked) throw this.#gone("dmabuf.attach", "R10");
    if (!attachment.revocable) {
      throw refuseAttach("EOPNOTSUPP", `${attachment.device.name} cannot be told to let go`, {
        hint: "give the importer ops an invalidateMappings",
      });
    }
    this.#policy.attach?.(attachment);
    const { dmabuf } = this;
    dmabuf.events?.emit({
      type: "attach-kind",
      buffer: dmabuf.label,
      inode: dmabuf.inode,
      attachment: attachment.name,
      kind: this.attachKind(attachment),
    });
  }

  detach(attachment: Attachment): void {
    this.#policy.detach?.(attachment);
  }

  /** vfio-pci-dmabuf R12. Every call counts one reference (R14). */
  map(attachment: Attachment, direction: DmaDirection, _held: Held): ScatterTable {
    if (this.#revoked) throw this.#gone("dmabuf.map", "R12");
    const table = this.#policy.map(attachment, direction);
    this.#references += 1;
    return table;
  }

  /** vfio-pci-dmabuf R13: the last one ends a drain. */
  unmap(attachment: Attachment, table: ScatterTable, direction: DmaDirection, _held: Held): void {
    this.#policy.unmap(attachment, table, direction);
    this.#references -= 1;
    if (this.#references === 0) this.#wakeDrain?.();
  }

  /** The physical ranges for iommufd: not counted, so the importer must drop them inside invalidateMappings (vfio-pci-dmabuf R19, R20). */
  open<N extends OpenInterconnectName>(
    _attachment: Attachment,
    name: N,
    _held: Held,
  ): Interconnects[N] {
    if (this.#revoked) throw this.#gone("dmabuf.open", "R20");
    if (this.ranges.length !== 1) {
      throw new DmaBufError(
        "EOPNOTSUPP",
        "dmabuf.open",
        `${String(this.ranges.length)} ranges: ${name} carries only one`,
        { hint: "export each range as a buffer of its own", rule: "vfio-pci-dmabuf R20" },
      );
    }
    // agree() let through only what is offered, and `phys` is the one offer that is opened.
    return this.ranges as Interconnects[N];
  }

  /** Leaves the device; the registration reference goes with it (vfio-pci-dmabuf R15). */
  release(): void {
    this.list?.leave(this);
  }

  /** @internal First step of a revoke, under the reservation (known-bugs B12). */
  markRevoked(): void {
    this.#revoked = true;
    this.#drained = false;
  }

  /** @internal Last step of an un-revoke, under the reservation. */
  markRestored(): void {
    this.#revoked = false;
  }

  /**
   * @internal Drops the creation reference, waits until no mapping is left, then arms both again (vfio-pci-dmabuf R17, known-bugs B1).
   * An aborted wait takes the creation reference back, so that a later drain counts right.
   */
  async drain(options: WaitOptions | undefined): Promise<void> {
    const { dmabuf } = this;
    this.#references -= 1;
    try {
      if (this.#references > 0) {
        dmabuf.events?.emit({
          type: "drain",
          buffer: dmabuf.label,
          inode: dmabuf.inode,
          mappings: this.#references,
        });
        this.waitsFor = "mappings";
        const { scheduler } = dmabuf.reservation;
        const point = { kind: "drain", on: dmabuf.label } as const;
        await waitFor(scheduler, point, options, "vfio.drain", (wake) => {
          this.#wakeDrain = wake;
          return () => undefined;
        });
      }
      this.#drained = true;
    } finally {
      this.#wakeDrain = undefined;
      this.waitsFor = undefined;
      this.#references += 1;
    }
    dmabuf.events?.emit({ type: "drained", buffer: dmabuf.label, inode: dmabuf.inode });
  }

  #gone(syscall: string, rule: string): DmaBufError {
    const closed = this.list === undefined;
    return new DmaBufError(
      "ENODEV",
      syscall,
      closed ? "the exporting device was closed" : "the buffer is revoked",
      {
        hint: closed
          ? "open the device again and export a new buffer (vfio-pci-dmabuf R29)"
          : "memory decode is off or a reset is going on: try again once it is over",
        rule: `vfio-pci-dmabuf ${rule}`,
      },
    );
  }
}

function refuseAttach(
  code: "EOPNOTSUPP",
  reason: string,
  options: { readonly hint: string },
): DmaBufError {
  return new DmaBufError(code, "dmabuf.attach", reason, {
    ...options,
    rule: "vfio-pci-dmabuf R10",
  });
}
