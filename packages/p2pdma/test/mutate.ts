import { random } from "../src/generate/server.js";

/** Deterministic damage to text, as mail programs, pagers, editors and bad luck do it. */
export class Mutator {
  readonly #next: () => number;

  constructor(seed: number) {
    this.#next = random(seed);
  }

  below(limit: number): number {
    return Math.floor(this.#next() * limit);
  }

  pick<T>(items: readonly T[]): T {
    const item = items[this.below(items.length)];
    if (item === undefined) throw new Error("nothing to pick from");
    return item;
  }

  /** A run of whole lines, so that small cases keep the shape of large inputs. */
  window(text: string, most: number): string {
    if (text.length <= most) return text;
    const start = text.indexOf("\n", this.below(text.length - most)) + 1;
    return text.slice(start, start + most);
  }

  /** One to six changes. */
  damage(text: string): string {
    let result = text;
    for (let n = this.below(6); n >= 0; n -= 1) result = this.#once(result);
    return result;
  }

  #once(text: string): string {
    const at = this.below(text.length + 1);
    const end = Math.min(text.length, at + this.below(200));
    switch (this.below(12)) {
      case 0:
        return text.slice(0, at);
      case 1:
        return text.slice(at);
      case 2:
        return text.slice(0, at) + text.slice(end);
      case 3:
        return text.slice(0, end) + text.slice(at);
      case 4:
        return text.slice(0, at) + String.fromCharCode(this.below(256)) + text.slice(at + 1);
      case 5:
        return text.slice(0, at) + String.fromCharCode(32 + this.below(95)) + text.slice(at);
      case 6:
        return text.slice(0, at) + this.pick(junk) + text.slice(at);
      case 7:
        return this.#digits(text, at, end);
      case 8:
        return text.replaceAll("\n", "\r\n");
      case 9:
        return text.replaceAll(/^/gm, this.pick(["> ", "\t", "| ", "    "]));
      case 10:
        return this.#swapLines(text);
      default:
        return text.slice(0, at) + text.slice(at, end).repeat(this.below(8)) + text.slice(end);
    }
  }

  /** Other numbers in the same places: bus numbers, offsets, sizes. */
  #digits(text: string, at: number, end: number): string {
    const changed = text
      .slice(at, end)
      .replaceAll(/[0-9a-f]/g, (digit) =>
        this.below(3) === 0 ? this.below(16).toString(16) : digit,
      );
    return text.slice(0, at) + changed + text.slice(end);
  }

  #swapLines(text: string): string {
    const lines = text.split("\n");
    const a = this.below(lines.length);
    const b = this.below(lines.length);
    [lines[a], lines[b]] = [lines[b] ?? "", lines[a] ?? ""];
    return lines.join("\n");
  }
}

const junk = [
  "\0",
  "\u{feff}",
  "\u{2028}",
  "\tBus: primary=ff, secondary=00, subordinate=ff, sec-latency=0\n",
  "\tBus: primary=00, secondary=zz\n",
  "\tRegion 5: Memory at ffffffffffffffffffffffff (64-bit, prefetchable) [size=9999T]\n",
  "\tMemory behind bridge: ffffffff-00000000\n",
  "\t\tVF offset: 65535, stride: 0, Device ID: 0000\n",
  "\t\tInitial VFs: 0, Total VFs: 65535, Number of VFs: 65535\n",
  "\tCapabilities: [fff v15] Single Root I/O Virtualization (SR-IOV)\n",
  "\tCapabilities: [100 v1] Access Control Services\n\t\tACSCtl:\t",
  "\tCapabilities: <access denied>\n",
  "ffffffff:ff:1f.7 PCI bridge: \n",
  "00:00.0 \n",
  "ff0: ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff\n",
  "100: 0d 00 01 10\n",
  '{"schemaVersion": 1}',
  '"parent":"0000:00:00.0",',
  "0x",
  "\n\n\n",
];
