import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Attachment, DmaBuf } from "../src/index.js";
import { device, buffer as exported, locked } from "./fixtures/exporter.js";

function make(): {
  buffer: DmaBuf;
  attach: () => Attachment;
  tell: () => readonly Attachment[];
} {
  const { buffer } = exported();
  const peer = device("peer");
  const told: Attachment[] = [];
  const importer = {
    allowPeer2Peer: true,
    invalidateMappings: (attachment: Attachment) => {
      told.push(attachment);
    },
  };
  return {
    buffer,
    attach: () => buffer.attach(peer, importer),
    tell: () => {
      told.length = 0;
      locked(buffer, (held) => {
        buffer.invalidateMappings(held);
      });
      return [...told];
    },
  };
}

describe("attachments of one buffer", () => {
  it("are listed and told in the order they were made, whoever left before (dma-buf R27)", () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.integer({ min: 0, max: 4 }), fc.nat()), { maxLength: 300 }),
        (steps) => {
          const { buffer, attach, tell } = make();
          const plain: Attachment[] = [];
          for (let i = 0; i < 80; i++) plain.push(attach());
          for (const [kind, at] of steps) {
            if (kind === 0) plain.push(attach());
            else for (const gone of plain.splice(at % (plain.length + 1), 1)) gone.detach();
          }
          expect([...buffer.attachments]).toEqual(plain);
          expect(tell()).toEqual(plain);
        },
      ),
      { numRuns: 60 },
    );
  });

  it("may leave while they are walked through", () => {
    const { buffer, attach, tell } = make();
    const all = Array.from({ length: 100 }, attach);
    const seen: Attachment[] = [];
    for (const attachment of buffer.attachments) {
      seen.push(attachment);
      attachment.detach();
    }
    expect(seen).toEqual(all);
    expect([...buffer.attachments]).toEqual([]);
    expect(tell()).toEqual([]);
  });

  it("who leave together with another are not walked through any more", () => {
    const { buffer, attach } = make();
    const all = Array.from({ length: 100 }, attach);
    const seen: Attachment[] = [];
    for (const attachment of buffer.attachments) {
      if (seen.length === 0) for (const other of all.slice(1, 90)) other.detach();
      seen.push(attachment);
    }
    expect(seen).toEqual([all[0], ...all.slice(90)]);
  });
});
