/** Builds config space byte by byte, for tests. */
export class Config {
  readonly bytes: Uint8Array;
  readonly #view: DataView;

  constructor(length = 4096) {
    this.bytes = new Uint8Array(length);
    this.#view = new DataView(this.bytes.buffer);
  }

  u8(at: number, value: number): this {
    this.#view.setUint8(at, value);
    return this;
  }

  u16(at: number, value: number): this {
    this.#view.setUint16(at, value, true);
    return this;
  }

  u32(at: number, value: number): this {
    this.#view.setUint32(at, value, true);
    return this;
  }

  /** IDs, class, header type, capability list present. */
  header(vendor: number, device: number, classCode: number, headerType = 0): this {
    return this.u16(0, vendor)
      .u16(2, device)
      .u16(4, 0x0006)
      .u16(6, 0x0010)
      .u32(8, classCode * 256)
      .u8(0x0e, headerType);
  }

  /** PCI Express capability as the only one, at 0x60. */
  express(portType: number, speed = 4, width = 16): this {
    return this.u8(0x34, 0x60)
      .u8(0x60, 0x10)
      .u8(0x61, 0)
      .u16(0x62, 2 | (portType << 4))
      .u32(0x6c, 5 | (16 << 4))
      .u16(0x72, speed | (width << 4));
  }

  /** Extended capability: ID, offset of the next one (0: last). */
  extended(at: number, id: number, next: number): this {
    return this.u32(at, (id | (1 << 16) | (next << 20)) >>> 0);
  }

  acs(at: number, next: number, capability: number, control: number): this {
    return this.extended(at, 0x0d, next)
      .u16(at + 4, capability)
      .u16(at + 6, control);
  }

  /** As `lspci -xxxx` prints it. */
  dump(address: string, length = this.bytes.length): string {
    const lines = [`${address} PCI bridge: Device`];
    for (let at = 0; at < length; at += 16) {
      const hex = [...this.bytes.subarray(at, at + 16)].map((b) => b.toString(16).padStart(2, "0"));
      lines.push(`${at.toString(16).padStart(2, "0")}: ${hex.join(" ")}`);
    }
    return `${lines.join("\n")}\n\n`;
  }
}
