import { closeSync, openSync, readSync, writeSync } from "node:fs";

const DEVICE = "/dev/peerbar-oracle";
const BYTES = 256 * 1024;

/** One entry of a scatterlist as the kernel handed it to an importer: a DMA address and a length in bytes. */
interface Entry {
  readonly address: bigint;
  readonly length: number;
}

/** How the oracle attaches: what it lets the exporter do to it. */
export type AttachMode = "dynamic" | "late" | "pinned" | "no-peer" | "static";

/** The kernel's own answer: words on success, or a negative errno. */
export interface Answer {
  readonly errno: number;
  readonly words: readonly string[];
  readonly entries: readonly Entry[];
}

/** A session with the oracle module (tooling/kernel-lab/oracle/PROTOCOL.md). Closing it drops all that it attached and mapped. */
export class Oracle implements Disposable {
  readonly #fd = openSync(DEVICE, "r+");
  readonly #buffer = Buffer.alloc(BYTES);

  /** One command; the lines of its answer. @throws the system's error where there is no such command. */
  text(command: string): string[] {
    writeSync(this.#fd, command);
    const length = readSync(this.#fd, this.#buffer, 0, BYTES, 0);
    return this.#buffer.toString("latin1", 0, length).trimEnd().split("\n");
  }

  /** One command, one answer whose lines after the first are entries. */
  ask(command: string): Answer {
    const [first = "", ...lines] = this.text(command);
    const [code = "", ...words] = first.split(" ");
    const entries = lines.filter((line) => line !== "").map(parseEntry);
    return { errno: Number(code), words: words.filter((word) => word !== ""), entries };
  }

  /** pci_p2pdma_distance_many for one pair; -1 where the kernel does not support it. */
  distance(provider: string, client: string, verbose = false): number {
    const { errno, words } = this.ask(`distance ${provider} ${client} ${verbose ? 1 : 0}`);
    return errno < 0 ? errno : Number(words[0]);
  }

  /** Kind of the function's IOMMU domain now: "none", "identity", "dma", "dma-fq", "unmanaged", ... */
  domain(bdf: string): string {
    return this.ask(`domain ${bdf}`).words[0] ?? "";
  }

  /** @returns id of the attachment, or a negative errno */
  attach(fd: number, bdf: string, mode: AttachMode): number {
    const { errno, words } = this.ask(`attach ${fd} ${bdf} ${mode}`);
    return errno < 0 ? errno : Number(words[0]);
  }

  /** errno 0: words are the mapping's id and orig_nents, entries the DMA list. */
  map(attachment: number, direction = "bidirectional"): Answer {
    return this.ask(`map ${attachment} ${direction}`);
  }

  unmap(attachment: number, mapping: number): number {
    return this.ask(`unmap ${attachment} ${mapping}`).errno;
  }

  detach(attachment: number): number {
    return this.ask(`detach ${attachment}`).errno;
  }

  state(attachment: number): { invalidations: number; mappings: number; pins: number } {
    const { words } = this.ask(`state ${attachment}`);
    return {
      invalidations: Number(words[1]),
      mappings: Number(words[3]),
      pins: Number(words[5]),
    };
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }
}

function parseEntry(line: string): Entry {
  const [address = "", length = ""] = line.split(" ");
  return { address: BigInt(`0x${address}`), length: Number.parseInt(length, 16) };
}
