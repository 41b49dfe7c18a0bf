import { type DmaBuf, isDmaBufError } from "@peerbar/core";
import type { ConformanceCase } from "../case.js";
import { check, equal, expectErrno, show } from "../expect.js";
import type { Turns } from "../turns.js";
import type { ImportedBuffer, ImporterCapability, ImporterFixture } from "./fixture.js";
import { WatchedExporter } from "./watched-exporter.js";

type ImporterCase = ConformanceCase<ImporterFixture, ImporterCapability>;

const SIZE = 0x8000n;
const whole = { offset: 0n, length: SIZE };
/** Moments at which a race is tried: turns after the other side began. */
const MOMENTS = 24;

const unmapsInTime: ImporterCase = {
  id: "invalidate/unmaps-in-bounded-time",
  title: "told to let go, the importer unmaps soon, and the exporter's revoke finishes",
  rules: "dma-buf R28, R30, rdma-umem R12",
  needs: ["revocable"],
  async run(fixture, turns) {
    const { exporter, buffer, imported } = await start(fixture);
    // One that maps at its first write has something to unmap now.
    await imported.write?.(0n, Uint8Array.of(1));
    const revoked = exporter.revoke();
    check(!(await turns.isPending(revoked)), "the revoke still waits for an unmap");
    equal(exporter.mapped, 0, "mappings after the revoke");
    await imported.close();
    buffer.close();
  },
};

const noTouchAfterRevoke: ImporterCase = {
  id: "invalidate/no-byte-moves-after-revoke",
  title: "after a revoke the device's writes fail and no byte of the memory changes",
  rules: "dma-buf R25, R30, iommufd R19, rdma-umem R18",
  needs: ["revocable", "dma"],
  async run(fixture, turns) {
    const { exporter, buffer, imported } = await start(fixture);
    check((await imported.write?.(0n, Uint8Array.of(1))) === true, "the write before the revoke");
    await turns.within(exporter.revoke(), "the revoke");
    const before = snapshot(fixture, buffer);
    for (let at = 0n; at < SIZE; at += 0x1000n) {
      const done = await imported.write?.(at, Uint8Array.of(0xee));
      equal(done, false, `success of a write at 0x${at.toString(16)} after the revoke`);
    }
    equal(snapshot(fixture, buffer), before, "bytes of the memory");
    await imported.close();
    buffer.close();
  },
};

const secondHarmless: ImporterCase = {
  id: "invalidate/second-is-harmless",
  title: "being told again, mapped or not, changes nothing and throws nothing",
  rules: "dma-buf R28, R29, rdma-umem R12, known-bugs B28",
  needs: ["revocable"],
  async run(fixture, turns) {
    const { exporter, buffer, before, imported } = await start(fixture);
    await turns.within(exporter.revoke(), "the revoke");
    const held = exporter.held(buffer);
    for (let i = 0; i < 3; i++) {
      const proof = await buffer.reservation.lock();
      try {
        buffer.invalidateMappings(proof);
      } finally {
        proof.release();
      }
      await turns.settle();
      equal(exporter.held(buffer), held, "held after one more invalidation");
    }
    await imported.close();
    equal(exporter.held(buffer), before, "held after close");
    buffer.close();
  },
};

const closeAfterRevoke: ImporterCase = {
  id: "close/after-revoke-leaves-nothing",
  title: "an import whose memory was taken back closes as any other",
  rules: "dma-buf R14, iommufd R16, R18, rdma-umem R13, R15",
  needs: ["revocable"],
  async run(fixture, turns) {
    const { exporter, buffer, before, imported } = await start(fixture);
    await turns.within(exporter.revoke(), "the revoke");
    await turns.within(Promise.resolve(imported.close()), "the close");
    equal(exporter.held(buffer), before, "held after close");
    await turns.within(exporter.restore(), "the restore");
    await (await fixture.import(buffer, whole)).close();
    equal(exporter.held(buffer), before, "held after a later import was closed");
    buffer.close();
  },
};

const dynamicComesBack: ImporterCase = {
  id: "restore/dynamic-importer-works-again",
  title: "a dynamic importer moves bytes again once the memory is back, without a new import",
  rules: "dma-buf R28, rdma-umem R23, vfio-pci-dmabuf R32",
  needs: ["revocable", "dynamic", "dma"],
  async run(fixture, turns) {
    const { exporter, buffer, imported } = await start(fixture);
    for (let round = 0; round < 3; round++) {
      check((await imported.write?.(8n, Uint8Array.of(round + 1))) === true, "write while there");
      await turns.within(exporter.revoke(), "the revoke");
      check((await imported.write?.(8n, Uint8Array.of(0xee))) === false, "write while revoked");
      await turns.within(exporter.restore(), "the restore");
    }
    check((await imported.write?.(8n, Uint8Array.of(0x77))) === true, "write at the end");
    await imported.close();
    buffer.close();
  },
};

const pinnedStaysDead: ImporterCase = {
  id: "restore/final-importer-stays-dead",
  title: "an importer that takes a revoke as final does not touch the memory once it is back",
  rules: "dma-buf R29, iommufd R15, rdma-umem R14, vfio-pci-dmabuf R24",
  needs: ["revocable", "final", "dma"],
  async run(fixture, turns) {
    const { exporter, buffer, imported } = await start(fixture);
    await turns.within(exporter.revoke(), "the revoke");
    await turns.within(exporter.restore(), "the restore");
    await staysAway(fixture, buffer, imported);
    equal(exporter.mapped, 0, "mappings after the restore");
    await imported.close();
    buffer.close();
  },
};

const revokeDuringImport: ImporterCase = {
  id: "race/revoke-during-import",
  title:
    "a revoke at any moment of an import ends in an error or in an import that is told, never in a live mapping",
  rules: "dma-buf R13, R31, iommufd M14, rdma-umem R4, R6, known-bugs B36, B37",
  needs: ["revocable"],
  async run(fixture, turns) {
    for (let moment = 0; moment < MOMENTS; moment++) {
      for (const behind of [false, true]) await importAgainstRevoke(fixture, turns, moment, behind);
    }
  },
};

/**
 * One race: the revoke begins `moment` turns into the import, or, `behind`, both stand in line for the reservation, the revoke first.
 */
async function importAgainstRevoke(
  fixture: ImporterFixture,
  turns: Turns,
  moment: number,
  behind: boolean,
): Promise<void> {
  const when = behind
    ? `behind a revoke, moment ${String(moment)}`
    : `revoked after ${String(moment)} turns`;
  const exporter = new WatchedExporter(fixture.memory);
  const buffer = exporter.export(SIZE);
  const before = exporter.held(buffer);
  const line = behind ? await buffer.reservation.lock() : undefined;
  const early = behind ? exporter.revoke() : undefined;
  if (behind) await turns.pass(4);
  const importing = outcome(fixture.import(buffer, whole));
  await turns.pass(moment);
  line?.release();
  await turns.within(early ?? exporter.revoke(), `the revoke (${when})`);
  const imported = await turns.within(importing, `the import (${when})`);
  equal(exporter.mapped, 0, `mappings, ${when}`);
  if (isImported(imported)) {
    if (imported.write !== undefined) await staysAway(fixture, buffer, imported);
    await imported.close();
  } else {
    // An importer that heard of the revoke before it mapped says EINVAL (rdma-umem R6).
    await expectErrno(() => Promise.reject(imported), ["ENODEV", "EINVAL"], "the import");
  }
  equal(exporter.held(buffer), before, `held, ${when}`);
  buffer.close();
}

const revokeDuringClose: ImporterCase = {
  id: "race/revoke-during-close",
  title: "a revoke at any moment of a close ends with both done and nothing held twice or left",
  rules: "dma-buf R17, R28, iommufd R21, rdma-umem R13, R24, known-bugs B25, B41",
  needs: ["revocable"],
  async run(fixture, turns) {
    for (let moment = 0; moment < MOMENTS; moment++) {
      const { exporter, buffer, before, imported } = await start(fixture);
      const closeFirst = moment % 2 === 0;
      const first = closeFirst ? Promise.resolve(imported.close()) : exporter.revoke();
      await turns.pass(moment >> 1);
      const second = closeFirst ? exporter.revoke() : Promise.resolve(imported.close());
      await turns.within(Promise.all([first, second]), "close and revoke");
      equal(exporter.held(buffer), before, `held after both, moment ${String(moment)}`);
      buffer.close();
    }
  },
};

const closeTwice: ImporterCase = {
  id: "race/two-closes",
  title: "two closes at once both end, and nothing is given back twice or left",
  rules: "dma-buf R14, R25, rdma-umem R15",
  async run(fixture, turns) {
    const { exporter, buffer, before, imported } = await start(fixture);
    const both = [imported.close(), imported.close()].map((close) => Promise.resolve(close));
    await turns.within(Promise.all(both), "two closes at once");
    await turns.settle();
    equal(exporter.held(buffer), before, "held after both");
    buffer.close();
  },
};

interface Started {
  readonly exporter: WatchedExporter;
  readonly buffer: DmaBuf;
  /** What was held before the import. */
  readonly before: string;
  readonly imported: ImportedBuffer;
}

async function start(fixture: ImporterFixture): Promise<Started> {
  const exporter = new WatchedExporter(fixture.memory);
  const buffer = exporter.export(SIZE);
  const before = exporter.held(buffer);
  return { exporter, buffer, before, imported: await fixture.import(buffer, whole) };
}

/** The result or the error: a race has both as good ends. */
async function outcome(importing: Promise<ImportedBuffer>): Promise<ImportedBuffer | Error> {
  try {
    return await importing;
  } catch (error) {
    if (isDmaBufError(error)) return error;
    throw new Error(`the import failed with ${show(error)}`, { cause: error });
  }
}

function isImported(value: ImportedBuffer | Error): value is ImportedBuffer {
  return "close" in value;
}

async function staysAway(
  fixture: ImporterFixture,
  buffer: DmaBuf,
  imported: ImportedBuffer,
): Promise<void> {
  const before = snapshot(fixture, buffer);
  const done = await imported.write?.(0n, Uint8Array.of(0xee));
  equal(done, false, "success of a write after the revoke");
  equal(snapshot(fixture, buffer), before, "bytes of the memory");
}

/** All bytes of the buffer that are not zero, as text to compare. */
function snapshot(fixture: ImporterFixture, buffer: DmaBuf): string {
  const { ranges } = buffer.ops as unknown as {
    ranges: readonly { start: bigint; length: bigint }[];
  };
  const found: string[] = [];
  for (const { start, length } of ranges) {
    const bytes = new Uint8Array(Number(length));
    fixture.memory.read(start, bytes);
    for (const [at, byte] of bytes.entries()) {
      if (byte !== 0) found.push(`${(start + BigInt(at)).toString(16)}=${String(byte)}`);
    }
  }
  return found.join(" ");
}

/** Invalidation, restore and races. */
export const importerRevokeCases: readonly ImporterCase[] = [
  unmapsInTime,
  noTouchAfterRevoke,
  secondHarmless,
  closeAfterRevoke,
  dynamicComesBack,
  pinnedStaysDead,
  revokeDuringImport,
  revokeDuringClose,
  closeTwice,
];
