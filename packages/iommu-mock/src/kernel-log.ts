/** One line that the kernel would log. */
export interface LogEntry {
  readonly level: "warn" | "notice";
  /** Where: the function or device it stands for. */
  readonly site: string;
  readonly message: string;
  /** The rule behind it: `dma-iova R22`. */
  readonly rule: string;
}

/** What the kernel would have logged: WARN_ONCE and notices, each site once. */
export class KernelLog {
  readonly #entries = new Map<string, LogEntry>();

  get entries(): readonly LogEntry[] {
    return [...this.#entries.values()];
  }

  /** A WARN_ONCE of the kernel: logged the first time alone. */
  warnOnce(site: string, message: string, rule: string): void {
    this.#add({ level: "warn", site, message, rule });
  }

  /** A line of the kernel's log that is no warning. */
  notice(site: string, message: string, rule: string): void {
    this.#add({ level: "notice", site, message, rule });
  }

  #add(entry: LogEntry): void {
    if (!this.#entries.has(entry.site)) this.#entries.set(entry.site, entry);
  }
}
