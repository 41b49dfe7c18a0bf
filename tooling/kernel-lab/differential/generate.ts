import type { AttachMode, Case, Step, UmemMode } from "./case.js";
import { Random } from "./random.js";

const PAGE = 0x1000;

/** A memory BAR that can be exported. */
interface Provider {
  readonly address: string;
  readonly bar: number;
  /** Bytes. */
  readonly length: number;
}

/** What cases may use of a machine. */
export interface Subjects {
  readonly providers: readonly Provider[];
  readonly clients: readonly string[];
}

/** The case of one seed: exports, importers and triggers in an order that a user could make them happen. */
export function generateCase(seed: number, subjects: Subjects): Case {
  const random = new Random(seed);
  const provider = random.pick(subjects.providers);
  const maker = new Maker(random, provider, subjects.clients);
  const length = random.between(6, 16);
  maker.export();
  for (let made = 1; made < length; made++) maker.step();
  return { seed, provider: provider.address, bar: provider.bar, steps: maker.steps };
}

class Maker {
  readonly steps: Step[] = [];
  readonly #random: Random;
  readonly #provider: Provider;
  readonly #clients: readonly string[];
  readonly #buffers: number[] = [];
  readonly #attachments: number[] = [];
  readonly #umems: number[] = [];
  #lowPower = false;
  #closed = false;

  constructor(random: Random, provider: Provider, clients: readonly string[]) {
    this.#random = random;
    this.#provider = provider;
    this.#clients = clients;
  }

  step(): void {
    const weights = {
      export: this.#closed ? 0 : 2,
      attach: 4,
      umem: 3,
      map: this.#attachments.length > 0 ? 7 : 0,
      unmap: this.#attachments.length > 0 ? 2 : 0,
      detach: this.#attachments.length > 0 ? 1 : 0,
      "umem-map": this.#umems.length > 0 ? 3 : 0,
      "umem-unmap": this.#umems.length > 0 ? 1 : 0,
      "umem-page-size": this.#umems.length > 0 ? 3 : 0,
      "umem-release": this.#umems.length > 0 ? 1 : 0,
      trigger: this.#closed ? 0 : 6,
      distance: 0.5,
    };
    this.#make(this.#random.weighted(weights));
  }

  export(): void {
    this.#buffers.push(this.steps.length);
    this.steps.push({ do: "export", bar: this.#bar(), ranges: this.#ranges() });
  }

  #make(name: string): void {
    const random = this.#random;
    switch (name) {
      case "export":
        this.export();
        return;
      case "attach": {
        const mode = random.weighted<AttachMode>({
          dynamic: 8,
          pinned: 0.5,
          "no-peer": 0.5,
          static: 0.5,
        });
        this.#attachments.push(this.steps.length);
        this.steps.push({
          do: "attach",
          buffer: random.pick(this.#buffers),
          client: random.pick(this.#clients),
          mode,
        });
        return;
      }
      case "umem":
        this.#umem();
        return;
      case "map":
      case "unmap":
      case "detach":
        this.steps.push({ do: name, attachment: random.pick(this.#attachments) });
        return;
      case "umem-map":
      case "umem-unmap":
      case "umem-release":
        this.steps.push({ do: name, umem: random.pick(this.#umems) });
        return;
      case "umem-page-size": {
        const shift = random.between(12, 22);
        this.steps.push({
          do: name,
          umem: random.pick(this.#umems),
          virt: 2 ** shift * random.between(1, 9),
        });
        return;
      }
      case "distance":
        this.steps.push({ do: "distance", client: random.pick(this.#clients) });
        return;
      default:
        this.#trigger();
    }
  }

  #umem(): void {
    const random = this.#random;
    const buffer = random.pick(this.#buffers);
    const size = this.#sizeOf(buffer);
    const offset = random.chance(0.4) ? 0 : random.between(0, size);
    const length = random.chance(0.1)
      ? size + random.between(-1, 1)
      : random.between(0, Math.max(size - offset, 1));
    const mode = random.weighted<UmemMode>({ dynamic: 4, revocable: 4, pinned: 1 });
    this.#umems.push(this.steps.length);
    this.steps.push({
      do: "umem",
      buffer,
      client: random.pick(this.#clients),
      mode,
      offset,
      length,
    });
  }

  #trigger(): void {
    const random = this.#random;
    const name = random.weighted({
      memory: 6,
      reset: 2,
      power: 2,
      "low-power": 1.5,
      "byte-write": 0.7,
      close: 0.8,
    });
    switch (name) {
      case "memory":
        this.steps.push({ do: "memory", on: random.chance(0.55) });
        return;
      case "power":
        this.steps.push({ do: "power", state: random.chance(0.5) ? 3 : 0 });
        return;
      case "low-power":
        this.#lowPower = random.chance(0.85) ? !this.#lowPower : this.#lowPower;
        this.steps.push({ do: "low-power", enter: this.#lowPower });
        return;
      case "close":
        this.#closed = true;
        this.steps.push({ do: "close" });
        return;
      case "reset":
      case "byte-write":
        this.steps.push({ do: name });
    }
  }

  /** Mostly the provider's BAR; now and then one that is not there, or not memory. */
  #bar(): number {
    return this.#random.chance(0.94) ? this.#provider.bar : this.#random.between(0, 7);
  }

  #ranges(): [number, number][] {
    const random = this.#random;
    const count = random.weighted({ "1": 6, "2": 3, "3": 1, "5": 0.6 });
    return Array.from({ length: Number(count) }, () => this.#range());
  }

  #range(): [number, number] {
    const random = this.#random;
    const pages = this.#provider.length / PAGE;
    if (random.chance(0.05)) return this.#wrongRange();
    if (random.chance(0.3)) return [0, this.#provider.length];
    const first = random.between(0, pages - 1);
    const most = random.chance(0.5) ? Math.min(16, pages - first) : pages - first;
    return [first * PAGE, random.between(1, most) * PAGE];
  }

  #wrongRange(): [number, number] {
    const { length } = this.#provider;
    const wrong: [number, number][] = [
      [0, 0],
      [0x800, PAGE],
      [0, 0x1800],
      [length, PAGE],
      [0, length + PAGE],
      [Number.MAX_SAFE_INTEGER - 0xfff + 1, PAGE],
    ];
    return this.#random.pick(wrong);
  }

  /** Bytes of a buffer as its export asked for them. */
  #sizeOf(buffer: number): number {
    const step = this.steps[buffer];
    if (step?.do !== "export") return PAGE;
    return step.ranges.reduce((sum, [, length]) => sum + length, 0);
  }
}
