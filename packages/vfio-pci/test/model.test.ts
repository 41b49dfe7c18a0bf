import { type Attachment, type DmaBuf, isDmaBufError, type ScatterTable } from "@peerbar/core";
import fc from "fast-check";
import { expect, it } from "vitest";
import type { IovaStrategy } from "../src/index.js";
import { settle } from "./fixtures/errors.js";
import { AF, EXPRESS, PM } from "./fixtures/fake-function.js";
import { fakeDevice, revocable } from "./fixtures/fake-importer.js";
import { FakeMapper } from "./fixtures/fake-mapper.js";
import { ONE_PAGE, type Rig, rig } from "./fixtures/rig.js";

type Step = readonly [
  (
    | "export"
    | "close-buffer"
    | "attach"
    | "detach"
    | "map"
    | "unmap"
    | "memory-on"
    | "memory-off"
    | "d0"
    | "d3"
    | "low-power"
    | "leave-low-power"
    | "wake-up"
    | "reset"
    | "flr"
    | "af-flr"
    | "hot-reset"
  ),
  number,
];

interface Share {
  readonly buffer: DmaBuf;
  /** What the model says of the buffer. */
  revoked: boolean;
  readonly attachments: { readonly attachment: Attachment; readonly tables: ScatterTable[] }[];
}

/** The rules of the trigger table in a few lines, beside the exporter that follows the kernel's steps. */
class Model {
  memory = true;
  d3 = false;
  lowPower = false;
  shares: Share[] = [];

  get enabled(): boolean {
    return this.memory && !this.d3 && !this.lowPower;
  }

  revokeAll(): void {
    for (const share of this.shares) {
      share.revoked = true;
      // The importers of this test unmap when told.
      for (const { tables } of share.attachments) tables.length = 0;
    }
  }

  restoreIfEnabled(): void {
    if (!this.enabled) return;
    for (const share of this.shares) {
      if (!share.revoked) continue;
      share.revoked = false;
    }
  }
}

async function codeOf(action: () => unknown): Promise<string> {
  try {
    await action();
    return "ok";
  } catch (error) {
    if (isDmaBufError(error)) return error.code;
    throw error;
  }
}

class Run {
  readonly model = new Model();
  readonly rig: Rig;
  readonly mapper = new FakeMapper();

  constructor(all: Rig) {
    this.rig = all;
  }

  async step([name, pick]: Step): Promise<void> {
    const { model } = this;
    const { device, vfio } = this.rig;
    const share = model.shares[pick % Math.max(1, model.shares.length)];
    const member = share?.attachments[pick % Math.max(1, share.attachments.length)];
    switch (name) {
      case "export": {
        const buffer = await device.exportDmaBuf(ONE_PAGE);
        model.shares.push({ buffer, revoked: !model.enabled, attachments: [] });
        break;
      }
      case "close-buffer":
        if (share === undefined || share.attachments.length > 0) break;
        share.buffer.close();
        model.shares = model.shares.filter((one) => one !== share);
        await settle(4);
        break;
      case "attach":
        if (share !== undefined) await this.#attach(share);
        break;
      case "detach":
        if (share === undefined || member === undefined || member.tables.length > 0) break;
        member.attachment.detach();
        share.attachments.splice(share.attachments.indexOf(member), 1);
        break;
      case "map":
        if (share === undefined || member === undefined) break;
        expect(
          await codeOf(() => {
            using held = share.buffer.reservation.lockNow();
            member.tables.push(member.attachment.map("bidirectional", held));
          }),
        ).toBe(share.revoked ? "ENODEV" : "ok");
        break;
      case "unmap": {
        const table = member?.tables.pop();
        if (share === undefined || member === undefined || table === undefined) break;
        using held = share.buffer.reservation.lockNow();
        member.attachment.unmap(table, "bidirectional", held);
        break;
      }
      case "memory-on":
        await device.writeConfig(4, 2, 2);
        model.memory = true;
        model.restoreIfEnabled();
        break;
      case "memory-off":
        await device.writeConfig(4, 2, 0);
        model.memory = false;
        model.revokeAll();
        break;
      case "d0":
        await device.writeConfig(PM + 4, 2, 0);
        model.d3 = false;
        model.restoreIfEnabled();
        break;
      case "d3":
        await device.writeConfig(PM + 4, 2, 3);
        model.d3 = true;
        model.revokeAll();
        break;
      case "low-power":
        expect(await codeOf(() => device.enterLowPower(() => undefined))).toBe(
          model.lowPower ? "EINVAL" : "ok",
        );
        model.lowPower = true;
        model.revokeAll();
        break;
      case "leave-low-power":
        await device.exitLowPower();
        model.lowPower = false;
        model.restoreIfEnabled();
        break;
      case "wake-up":
        await device.wakeUp();
        model.lowPower = false;
        break;
      case "reset":
        await device.reset();
        model.d3 = false;
        model.revokeAll();
        model.restoreIfEnabled();
        break;
      case "hot-reset":
        await vfio.hotReset([device]);
        model.d3 = false;
        model.revokeAll();
        model.restoreIfEnabled();
        break;
      case "flr":
        await device.writeConfig(EXPRESS + 8, 2, 0x8000);
        model.revokeAll();
        model.restoreIfEnabled();
        break;
      case "af-flr":
        await device.writeConfig(AF + 4, 1, 1);
        model.revokeAll();
        model.restoreIfEnabled();
        break;
    }
    this.#compare();
  }

  async #attach(share: Share): Promise<void> {
    const tables: ScatterTable[] = [];
    const importer = {
      ...revocable,
      invalidateMappings: (attachment: Attachment, held: Parameters<Attachment["map"]>[1]) => {
        for (const table of tables.splice(0)) attachment.unmap(table, "bidirectional", held);
      },
    };
    let attachment: Attachment | undefined;
    const code = await codeOf(() => {
      attachment = share.buffer.attach(fakeDevice("0000:3c:00.0", this.mapper), importer);
    });
    expect(code).toBe(share.revoked ? "ENODEV" : "ok");
    if (attachment !== undefined) share.attachments.push({ attachment, tables });
  }

  #compare(): void {
    const { model } = this;
    const { device } = this.rig;
    expect(device.memoryEnabled).toBe(model.enabled);
    expect(device.buffers).toBe(model.shares.length);
    expect(device.registrations).toBe(1 + model.shares.length);
    expect(device.draining).toEqual([]);
    let tables = 0;
    for (const { attachments } of model.shares) {
      for (const one of attachments) {
        tables += one.tables.length;
        expect(one.attachment.mappings).toBe(one.tables.length);
      }
    }
    expect(this.mapper.mapped.size).toBe(tables);
  }

  async end(): Promise<void> {
    await this.rig.device.close();
    for (const { buffer, attachments } of this.model.shares) {
      for (const { attachment } of attachments) attachment.detach();
      buffer.close();
    }
    await settle();
    expect(this.rig.device.registrations).toBe(0);
    expect(this.mapper.clean).toBe(true);
  }
}

const names: readonly Step[0][] = [
  ...(["export", "close-buffer", "attach", "attach", "detach", "map", "map", "map"] as const),
  ...(["unmap", "memory-on", "memory-on", "memory-off", "d0", "d3", "low-power"] as const),
  ...(["leave-low-power", "wake-up", "reset", "flr", "af-flr", "hot-reset"] as const),
];

it.each(["mapping", "attachment"] as const)(
  "any sequence of uses and triggers follows the trigger table (%s)",
  async (iovaStrategy: IovaStrategy) => {
    const step = fc.tuple(fc.constantFrom(...names), fc.nat(1000));
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 60 }), async (steps) => {
        const run = new Run(await rig({ answer: "thru-host-bridge", vfio: { iovaStrategy } }));
        await run.step(["export", 0]);
        await run.step(["attach", 0]);
        for (const one of steps) await run.step(one);
        await run.end();
      }),
      { numRuns: 150 },
    );
  },
  60_000,
);
