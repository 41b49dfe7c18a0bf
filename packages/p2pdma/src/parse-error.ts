import { DmaBufError, type DmaBufErrorOptions } from "@peerbar/core";

/** Input that is not a PCI topology, or not a whole one. `EINVAL`, with the place where reading stopped. */
export class ParseError extends DmaBufError {
  override readonly name: string = "ParseError";
  /** 1-based line of the input. */
  readonly line: number;
  /** Name of the input, as the caller gave it. */
  readonly source: string;

  /**
   * @param source - name of the input, as the caller gave it
   * @param line - where reading stopped, from 1
   */
  constructor(source: string, line: number, reason: string, options: DmaBufErrorOptions = {}) {
    super(
      "EINVAL",
      "p2pdma.parse",
      `${source}${line > 1 ? `:${line.toString()}` : ""}: ${reason}`,
      options,
    );
    this.line = line;
    this.source = source;
  }
}
