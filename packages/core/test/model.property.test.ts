import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type Attachment,
  type DeviceFence,
  type DmaBuf,
  type DmaBufReference,
  type DmaDirection,
  describeBuffer,
  FenceContext,
  fenceUsages,
  type Held,
  POLLIN,
  POLLOUT,
  Reservation,
  type ScatterTable,
} from "../src/index.js";
import { errorOf } from "./fixtures/expect-error.js";
import { buffer, device, importer, type Op, RecordingExporter } from "./fixtures/exporter.js";

/** One random step. `pick` chooses among what exists, `bad` and `fail` make it go wrong. */
interface Step {
  readonly what: (typeof kinds)[number];
  readonly pick: number;
  readonly direction: DmaDirection;
  readonly proof: "live" | "stale" | "foreign";
  readonly fail: boolean;
}

const kinds = [
  ...["attach", "attach static", "detach", "map", "map", "unmap", "unmap", "pin", "unpin"],
  ...["lock", "lock", "unlock", "get", "put", "close", "name", "vmap", "vunmap", "invalidate"],
  ...["fence", "signal", "poll", "stranger"],
] as const;

/** The tiny reference: counts and lists, no protocol. `undefined` is success, else the error's code. */
class Model {
  references = 1;
  closed = false;
  readonly handles: boolean[] = [];
  readonly attachments: { on: boolean; isStatic: boolean; pins: number }[] = [];
  readonly mappings: { of: number; direction: string; live: boolean }[] = [];
  readonly fences: { rank: number; signaled: boolean }[] = [];
  /** Which entries of `fences` the reservation keeps, in its order. */
  readonly kept: number[] = [];
  readonly armed = new Map<number, number>();
  isLocked = false;
  vmaps = 0;
  name = "";
  told = 0;
  readonly pins: boolean;

  constructor(pins: boolean) {
    this.pins = pins;
  }

  step(step: Step): string | undefined {
    const { what, pick, fail } = step;
    const proof = this.isLocked && step.proof === "live" ? undefined : "ERR_PROTOCOL";
    const attachment = this.attachments[pick % Math.max(1, this.attachments.length)];
    switch (what) {
      case "attach":
      case "attach static":
        if (this.references === this.armed.size) return "EBADF";
        if (this.isLocked) return "EDEADLK";
        if (fail) return "EIO";
        this.attachments.push({ on: true, isStatic: what === "attach static", pins: 0 });
        return undefined;
      case "detach":
        if (attachment?.on !== true) return undefined;
        if (this.isLocked) return "EDEADLK";
        if (this.mapped(attachment) > 0 || attachment.pins > 0) return "ERR_PROTOCOL";
        if (fail) return "EIO";
        attachment.on = false;
        return undefined;
      case "map":
        if (attachment === undefined) return undefined;
        return this.map(step, attachment, proof);
      case "unmap":
        return this.unmap(step, proof);
      case "pin":
      case "unpin":
        if (attachment === undefined) return undefined;
        if (!attachment.on) return "EBADF";
        if (proof !== undefined || attachment.isStatic) return "ERR_PROTOCOL";
        if (what === "unpin" && attachment.pins === 0) return "ERR_PROTOCOL";
        if (fail && this.pins) return "EIO";
        attachment.pins += what === "pin" ? 1 : -1;
        return undefined;
      case "lock":
        if (this.isLocked) return "EDEADLK";
        this.isLocked = true;
        return undefined;
      case "unlock":
        this.isLocked = false;
        return undefined;
      case "get":
        if (this.references === 0) return "EBADF";
        this.references += 1;
        this.handles.push(true);
        return undefined;
      case "put": {
        const at = pick % Math.max(1, this.handles.length);
        if (this.handles[at] !== true) return undefined;
        const refused = this.drop();
        if (refused === undefined) this.handles[at] = false;
        return refused;
      }
      case "close": {
        if (this.closed) return undefined;
        const refused = this.drop();
        if (refused === undefined) this.closed = true;
        return refused;
      }
      case "name":
        if (this.references === 0) return "EBADF";
        if (pick % 40 > 31) return "EINVAL";
        this.name = "n".repeat(pick % 40);
        return undefined;
      case "vmap":
        if (this.references === this.armed.size) return "EBADF";
        if (proof !== undefined) return proof;
        if (fail && this.vmaps === 0) return "EIO";
        this.vmaps += 1;
        return undefined;
      case "vunmap":
        if (proof !== undefined || this.vmaps === 0) return "ERR_PROTOCOL";
        if (fail && this.vmaps === 1) return "EIO";
        this.vmaps -= 1;
        return undefined;
      case "invalidate":
        if (proof !== undefined) return proof;
        this.told += this.attachments.filter(({ on, isStatic }) => on && !isStatic).length;
        return undefined;
      case "fence":
        if (proof !== undefined) return proof;
        this.fence(pick % 4);
        return undefined;
      case "signal":
        this.signal(pick % Math.max(1, this.fences.length));
        return undefined;
      case "poll":
        if (this.references === 0) return "EBADF";
        this.poll(1 + (pick % 3));
        return undefined;
      case "stranger":
        if (attachment === undefined) return undefined;
        return attachment.on ? "ERR_PROTOCOL" : "EBADF";
    }
  }

  private mapped(attachment: Model["attachments"][number]): number {
    const index = this.attachments.indexOf(attachment);
    return this.mappings.filter(({ of, live }) => live && of === index).length;
  }

  private map(step: Step, attachment: Model["attachments"][number], proof: string | undefined) {
    if (!attachment.on) return "EBADF";
    if (proof !== undefined) return proof;
    const moving = this.kept.some((i) => this.fences[i]?.rank === 0 && !this.fences[i].signaled);
    if (attachment.isStatic && moving) return "EAGAIN";
    if (step.fail) return "EIO";
    const of = this.attachments.indexOf(attachment);
    this.mappings.push({ of, direction: step.direction, live: true });
    if (attachment.isStatic && this.pins) attachment.pins += 1;
    return undefined;
  }

  private unmap({ pick, direction, fail }: Step, proof: string | undefined): string | undefined {
    const mapping = this.mappings[pick % Math.max(1, this.mappings.length)];
    const attachment = mapping === undefined ? undefined : this.attachments[mapping.of];
    if (mapping === undefined || attachment === undefined) return undefined;
    if (!attachment.on) return "EBADF";
    if (proof !== undefined || !mapping.live || mapping.direction !== direction) {
      return "ERR_PROTOCOL";
    }
    if (fail) return "EIO";
    mapping.live = false;
    if (attachment.isStatic && this.pins) attachment.pins -= 1;
    return undefined;
  }

  private drop(): string | undefined {
    const used = this.vmaps > 0 || this.attachments.some(({ on }) => on);
    if (used && this.references - this.armed.size === 1) return "ERR_PROTOCOL";
    this.references -= 1;
    return undefined;
  }

  private fence(rank: number): void {
    this.fences.push({ rank, signaled: false });
    const index = this.fences.length - 1;
    const free = this.kept.findIndex((i) => this.fences[i]?.signaled === true);
    if (free < 0) this.kept.push(index);
    else this.kept[free] = index;
  }

  private signal(index: number): void {
    const fence = this.fences[index];
    if (fence === undefined || fence.signaled) return;
    fence.signaled = true;
    for (const [event, on] of this.armed) {
      if (on !== index) continue;
      this.armed.delete(event);
      this.references -= 1;
    }
  }

  private poll(events: number): void {
    for (const [event, bit, limit] of [
      [POLLOUT, 2, 2],
      [POLLIN, 1, 1],
    ] as const) {
      if ((events & bit) === 0 || this.armed.has(event)) continue;
      const first = this.kept.find((i) => {
        const fence = this.fences[i];
        return fence !== undefined && !fence.signaled && fence.rank <= limit;
      });
      if (first === undefined) continue;
      this.armed.set(event, first);
      this.references += 1;
    }
  }

  view(): unknown {
    return {
      count: this.references,
      name: this.name,
      isLocked: this.isLocked,
      vmaps: this.vmaps,
      armed: this.armed.size,
      told: this.told,
      attached: this.attachments.map(({ on }) => on),
      attachments: this.attachments
        .filter(({ on }) => on)
        .map((one) => ({ mappings: this.mapped(one), pins: one.pins })),
      fences: this.kept.map((i) => ({
        usage: fenceUsages[this.fences[i]?.rank ?? 0],
        signaled: this.fences[i]?.signaled,
      })),
    };
  }
}

/** The real thing, driven by the same steps. */
class Real {
  readonly ops: RecordingExporter;
  readonly made: DmaBuf;
  readonly handles: DmaBufReference[] = [];
  readonly attachments: Attachment[] = [];
  readonly mappings: { of: Attachment; table: ScatterTable }[] = [];
  readonly fences: DeviceFence[] = [];
  readonly told: string[] = [];
  readonly foreign = new Reservation().lockNow();
  stale: Held;
  live: Held | undefined;
  view: ReturnType<DmaBuf["vmap"]> | undefined;

  constructor(pins: boolean) {
    this.ops = new RecordingExporter({ pins });
    this.made = buffer(this.ops).buffer;
    this.stale = this.made.reservation.lockNow();
    this.stale.release();
  }

  step({ what, pick, direction, proof, fail }: Step): void {
    const { made, attachments } = this;
    const attachment = attachments[pick % Math.max(1, attachments.length)];
    const held =
      proof === "foreign"
        ? this.foreign
        : proof === "stale"
          ? this.stale
          : (this.live ?? this.stale);
    if (fail) this.ops.fail.set(opOf(what), "EIO");
    switch (what) {
      case "attach":
        attachments.push(made.attach(device("d"), importer(this.told)));
        break;
      case "attach static":
        attachments.push(made.attach(device("d")));
        break;
      case "detach":
        attachment?.detach();
        break;
      case "map":
        if (attachment !== undefined) {
          this.mappings.push({ of: attachment, table: attachment.map(direction, held) });
        }
        break;
      case "unmap": {
        const mapping = this.mappings[pick % Math.max(1, this.mappings.length)];
        mapping?.of.unmap(mapping.table, direction, held);
        break;
      }
      case "pin":
        attachment?.pin(held);
        break;
      case "unpin":
        attachment?.unpin(held);
        break;
      case "lock":
        this.live = made.reservation.lockNow();
        break;
      case "unlock":
        if (this.live !== undefined) this.stale = this.live;
        this.stale.release();
        this.live = undefined;
        break;
      case "get":
        this.handles.push(made.get());
        break;
      case "put":
        this.handles[pick % Math.max(1, this.handles.length)]?.put();
        break;
      case "close":
        made.close();
        break;
      case "name":
        made.setName("n".repeat(pick % 40));
        break;
      case "vmap":
        this.view = made.vmap(held);
        break;
      case "vunmap":
        made.vunmap(this.view ?? { bytes: new Uint8Array(), isIoMemory: false }, held);
        break;
      case "invalidate":
        made.invalidateMappings(held);
        break;
      case "fence": {
        made.reservation.reserveFences(held, 1);
        const fence = new FenceContext(this.fences.length + 1, "f").next();
        made.reservation.addFence(held, fence, fenceUsages[pick % 4] ?? "kernel");
        this.fences.push(fence);
        break;
      }
      case "signal": {
        const fence = this.fences[pick % Math.max(1, this.fences.length)];
        if (fence?.signaled === false) fence.signal();
        break;
      }
      case "poll":
        made.poll([POLLIN, POLLOUT, POLLIN | POLLOUT][pick % 3] ?? 0);
        break;
      case "stranger":
        attachment?.unmap(undefined as unknown as ScatterTable, direction, held);
        break;
    }
  }

  snapshot(): unknown {
    const info = describeBuffer(this.made);
    return {
      count: info.count,
      name: info.name ?? "",
      isLocked: info.locked,
      vmaps: info.vmaps,
      armed: this.made.armedPolls,
      told: this.told.length,
      attached: this.attachments.map((one) => one.attached),
      attachments: info.attachments.map(({ mappings, pins }) => ({ mappings, pins })),
      fences: info.fences.map(({ usage, signaled }) => ({ usage, signaled })),
    };
  }

  /** Everything observable, names included. */
  everything(): string {
    const all = [
      this.snapshot(),
      describeBuffer(this.made),
      this.made.references,
      this.made.released,
    ];
    return JSON.stringify(all, (_key, value: unknown) =>
      typeof value === "bigint" ? String(value) : value,
    );
  }
}

function opOf(what: Step["what"]): Op {
  return (what === "attach static" ? "attach" : what) as Op;
}

const step: fc.Arbitrary<Step> = fc.record({
  what: fc.constantFrom(...kinds),
  pick: fc.nat(200),
  direction: fc.constantFrom("to-device", "from-device", "bidirectional"),
  proof: fc.constantFrom("live", "live", "live", "live", "stale", "foreign"),
  fail: fc.nat(7).map((n) => n === 0),
});

const steps = fc.array(step, { minLength: 5, maxLength: 60 });

/** How a sequence begins: left to chance alone, hardly any would come to a mapping before the last reference is gone. */
const beginnings: readonly (readonly Step["what"][])[] = [
  [],
  ["get", "get", "attach"],
  ["get", "get", "attach", "attach static", "lock"],
  ["get", "get", "attach", "lock", "pin", "map", "vmap"],
  ["get", "get", "attach", "attach static", "lock", "map", "unlock"],
  ["get", "get", "attach static", "fence", "lock"],
];

const beginning = fc.constantFrom(...beginnings);

function plain(what: Step["what"]): Step {
  return { what, pick: 0, direction: "bidirectional", proof: "live", fail: false };
}

describe("random command sequences", () => {
  it("agree with a tiny reference model, and a failing call changes nothing (dma-buf R3, R6, R14, R16, R20, R22, R25)", () => {
    const outcomes = new Map<string, number>();
    fc.assert(
      fc.property(fc.boolean(), beginning, steps, (pins, first, rest) => {
        const [model, real] = [new Model(pins), new Real(pins)];
        for (const one of [...first.map(plain), ...rest]) {
          const before = real.everything();
          const code = errorOf(() => {
            real.step(one);
          })?.code;
          real.ops.fail.clear();
          const expected = model.step(one);
          expect([one.what, code]).toEqual([one.what, expected]);
          if (code !== undefined) expect(real.everything()).toBe(before);
          expect(real.snapshot()).toEqual(model.view());
          const outcome = `${one.what} ${code ?? "ok"}`;
          outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
        }
      }),
      { numRuns: 5000 },
    );
    // The steps reach what they are meant to reach.
    for (const outcome of [
      ...["map ok", "map EIO", "map EAGAIN", "map EBADF", "map ERR_PROTOCOL", "unmap ok"],
      ...[
        "unmap ERR_PROTOCOL",
        "detach ok",
        "detach ERR_PROTOCOL",
        "detach EDEADLK",
        "close ERR_PROTOCOL",
      ],
      ...[
        "close ok",
        "get EBADF",
        "attach EBADF",
        "pin EIO",
        "unpin ERR_PROTOCOL",
        "vunmap ok",
        "poll ok",
      ],
    ]) {
      expect([outcome, outcomes.get(outcome) ?? 0]).not.toEqual([outcome, 0]);
    }
  }, 120_000);
});
