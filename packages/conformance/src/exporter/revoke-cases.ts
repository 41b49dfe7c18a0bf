import {
  type DmaBuf,
  type DmaBufErrorCode,
  FenceContext,
  type FenceUsage,
  type Held,
  isDmaBufError,
} from "@peerbar/core";
import type { ConformanceCase } from "../case.js";
import { ConformanceFailure, check, equal, expectErrno } from "../expect.js";
import type { ExporterCapability, ExporterFixture } from "./fixture.js";
import { ScriptedImporter } from "./scripted-importer.js";

type ExporterCase = ConformanceCase<ExporterFixture, ExporterCapability>;

const SIZE = 0x8000n;

const reachesEveryone: ExporterCase = {
  id: "revoke/tells-every-importer-once",
  title: "a revoke invalidates every attachment of every buffer once, lock held, mapped or not",
  rules: "dma-buf R27, R28, vfio-pci-dmabuf R16",
  needs: ["revoke"],
  async run({ device, ...fixture }, turns) {
    const first = await fixture.export(SIZE);
    const second = await fixture.export(SIZE);
    const importers = [first, first, second].map((buffer) => new ScriptedImporter(buffer, device));
    await turns.within(revoke(fixture), "the revoke");
    for (const importer of importers) {
      equal(importer.invalidations, 1, "invalidations of one attachment");
      equal(importer.unlocked, 0, "invalidations without the lock");
    }
    await turns.within(revoke(fixture), "the second revoke");
    for (const importer of importers) {
      equal(importer.invalidations, 1, "invalidations after a revoke of what is revoked");
      importer.attachment.detach();
    }
    first.close();
    second.close();
  },
};

const enodevUntilRestore: ExporterCase = {
  id: "revoke/map-gives-enodev-until-restored",
  title:
    "while revoked map and attach give ENODEV; attachments survive and map again once restored",
  rules: "dma-buf R31, vfio-pci-dmabuf R10, R11, R12, R16",
  needs: ["revoke"],
  async run({ device, ...fixture }, turns) {
    const buffer = await fixture.export(SIZE);
    const importer = new ScriptedImporter(buffer, device);
    await importMapped(importer, buffer);
    await turns.within(revoke(fixture), "the revoke");
    await expectErrno(() => importMapped(importer, buffer), "ENODEV", "import while revoked");
    await expectErrno(() => new ScriptedImporter(buffer, device), "ENODEV", "attach while revoked");
    equal([...buffer.attachments].length, 1, "attachments after the refusals");
    await turns.within(restore(fixture), "the restore");
    await importMapped(importer, buffer);
    await importer.leave();
    buffer.close();
  },
};

const flagFirst: ExporterCase = {
  id: "revoke/no-map-slips-in",
  title: "an importer that maps from inside the invalidation, or right after it, gets ENODEV",
  rules: "dma-buf R31, vfio-pci-dmabuf R18",
  needs: ["revoke", "sgt"],
  async run({ device, ...fixture }, turns) {
    const buffer = await fixture.export(SIZE);
    const importer = new ScriptedImporter(buffer, device);
    let inside: DmaBufErrorCode | "mapped" | undefined;
    const slipIn = (held: Held): void => {
      try {
        importer.mapHeld(held);
        inside = "mapped";
        importer.unmapAll(held);
      } catch (error) {
        inside = isDmaBufError(error) ? error.code : undefined;
      }
    };
    importer.whenInvalidated = slipIn;
    const revoked = revoke(fixture);
    const late = Array.from({ length: 8 }, async (_, delay) => {
      await turns.pass(delay);
      return mapsAfter(importer, buffer, () => inside !== undefined);
    });
    await turns.within(revoked, "the revoke");
    equal(inside, "ENODEV", "map from inside the invalidation");
    check(!(await Promise.all(late)).includes(true), "a map after the invalidation worked");
    importer.whenInvalidated = "unmap";
    importer.attachment.detach();
    buffer.close();
  },
};

const waitsForUnmap: ExporterCase = {
  id: "revoke/waits-for-the-last-unmap",
  title: "a revoke is not done before the slowest importer has unmapped, and unmap still works",
  rules: "dma-buf R30, vfio-pci-dmabuf R13, R16",
  needs: ["revoke", "sgt"],
  async run({ device, ...fixture }, turns) {
    const buffer = await fixture.export(SIZE);
    const slow = new ScriptedImporter(buffer, device);
    const quick = new ScriptedImporter(buffer, device);
    slow.whenInvalidated = "keep";
    const [first, second] = [await slow.map(), await slow.map()];
    await quick.map();
    const revoked = revoke(fixture);
    check(await turns.isPending(revoked), "revoke finished with two mappings live");
    await turns.within(slow.unmap(first), "unmap during the revoke");
    check(await turns.isPending(revoked), "revoke finished with one mapping live");
    await turns.within(slow.unmap(second), "unmap during the revoke");
    await turns.within(revoked, "the revoke, with everything unmapped");
    slow.attachment.detach();
    quick.attachment.detach();
    buffer.close();
  },
};

const twoAtOnce: ExporterCase = {
  id: "revoke/two-at-once",
  title: "of two revokes at once neither is done before the last unmap, and then both are",
  rules: "dma-buf R30, vfio-pci-dmabuf R13, R16",
  needs: ["revoke", "sgt"],
  async run({ device, ...fixture }, turns) {
    const buffer = await fixture.export(SIZE);
    const slow = new ScriptedImporter(buffer, device);
    slow.whenInvalidated = "keep";
    await slow.map();
    const together = [revoke(fixture), revoke(fixture)];
    for (const revoked of together) {
      check(await turns.isPending(revoked), "one of two revokes finished with a mapping live");
    }
    const late = revoke(fixture);
    check(await turns.isPending(late), "a later revoke finished with a mapping live");
    await turns.within(slow.unmap(), "unmap during the revokes");
    await turns.within(Promise.all([...together, late]), "the revokes, with everything unmapped");
    slow.attachment.detach();
    buffer.close();
  },
};

const waitsForFences: ExporterCase = {
  id: "revoke/waits-for-fences-of-every-usage",
  title: "a revoke waits for fences of every usage, BOOKKEEP included",
  rules: "dma-buf R30, R34, vfio-pci-dmabuf R16",
  needs: ["revoke"],
  async run({ device, ...fixture }, turns) {
    const usages: readonly FenceUsage[] = ["kernel", "write", "read", "bookkeep"];
    for (const [index, usage] of usages.entries()) {
      const buffer = await fixture.export(SIZE);
      const importer = new ScriptedImporter(buffer, device);
      const fence = new FenceContext(0x7000 + index, `conformance-${usage}`).next();
      const held = await buffer.reservation.lock();
      buffer.reservation.reserveFences(held, 1);
      buffer.reservation.addFence(held, fence, usage);
      held.release();
      const revoked = revoke(fixture);
      check(await turns.isPending(revoked), `revoke finished before a ${usage} fence signalled`);
      fence.signal();
      await turns.within(revoked, `the revoke, with the ${usage} fence signalled`);
      await turns.within(restore(fixture), "the restore");
      importer.attachment.detach();
      buffer.close();
    }
  },
};

const cycles: ExporterCase = {
  id: "revoke/cycles",
  title: "revoke and restore repeat with mappings in between, and each revoke drains again",
  rules: "vfio-pci-dmabuf R17",
  needs: ["revoke", "sgt"],
  async run({ device, ...fixture }, turns) {
    const buffer = await fixture.export(SIZE);
    const importer = new ScriptedImporter(buffer, device);
    for (let round = 1; round <= 3; round++) {
      importer.whenInvalidated = "keep";
      await importer.map();
      const revoked = revoke(fixture);
      check(await turns.isPending(revoked), `revoke ${String(round)} did not wait for the unmap`);
      await turns.within(importer.unmap(), "unmap during the revoke");
      await turns.within(revoked, `revoke ${String(round)}`);
      await expectErrno(() => importer.map(), "ENODEV", `map after revoke ${String(round)}`);
      await turns.within(restore(fixture), `restore ${String(round)}`);
    }
    await importer.map();
    importer.whenInvalidated = "unmap";
    await importer.leave();
    buffer.close();
  },
};

const bornRevoked: ExporterCase = {
  id: "revoke/exported-while-revoked",
  title: "a buffer exported while the memory is away is born revoked and usable once restored",
  rules: "vfio-pci-dmabuf R6",
  needs: ["revoke"],
  async run({ device, ...fixture }, turns) {
    await turns.within(revoke(fixture), "the revoke");
    const buffer = await fixture.export(SIZE);
    await expectErrno(() => new ScriptedImporter(buffer, device), "ENODEV", "attach, born revoked");
    await turns.within(restore(fixture), "the restore");
    const importer = new ScriptedImporter(buffer, device);
    await importMapped(importer, buffer);
    await importer.leave();
    buffer.close();
  },
};

/** Maps and unmaps at once. True where that worked although `tooLate` already held: whoever maps before the revoke is fine. */
async function mapsAfter(
  importer: ScriptedImporter,
  buffer: DmaBuf,
  tooLate: () => boolean,
): Promise<boolean> {
  const held = await buffer.reservation.lock();
  try {
    importer.mapHeld(held);
    importer.unmapAll(held);
    return tooLate();
  } catch (error) {
    if (isDmaBufError(error) && error.code === "ENODEV") return false;
    throw error;
  } finally {
    held.release();
  }
}

/** Takes the buffer by the first interconnect that the exporter offers. */
async function importMapped(importer: ScriptedImporter, buffer: DmaBuf): Promise<void> {
  const offers = buffer.ops.offers(importer.attachment);
  if (offers.includes("sgt")) {
    await importer.map();
    return;
  }
  const name = importer.attachment.negotiate(["phys", "fd"]);
  const held = await buffer.reservation.lock();
  try {
    importer.attachment.open(name, held);
  } finally {
    held.release();
  }
}

function revoke(fixture: Pick<ExporterFixture, "revoke">): Promise<void> {
  return fixture.revoke?.() ?? Promise.reject(new ConformanceFailure("the fixture has no revoke"));
}

function restore(fixture: Pick<ExporterFixture, "restore">): Promise<void> {
  return (
    fixture.restore?.() ?? Promise.reject(new ConformanceFailure("the fixture has no restore"))
  );
}

const releasedOnce: ExporterCase = {
  id: "release/once-after-the-last-reference",
  title: "an importer's reference keeps the buffer; after the last one it is released once, later",
  rules: "dma-buf R6, R8",
  needs: ["live"],
  async run({ device, ...fixture }, turns) {
    const before = fixture.live?.();
    const buffer = await fixture.export(SIZE);
    const reference = buffer.get();
    buffer.close();
    buffer.close();
    await turns.settle();
    equal(fixture.live?.(), (before ?? 0) + 1, "live buffers while a reference is left");
    new ScriptedImporter(buffer, device).attachment.detach();
    reference.put();
    equal(fixture.live?.(), (before ?? 0) + 1, "live buffers inside the last put");
    await turns.settle();
    equal(fixture.live?.(), before, "live buffers after the last reference");
    await expectErrno(() => buffer.get(), "EBADF", "get after release");
  },
};

const releaseThenRevoke: ExporterCase = {
  id: "release/revoke-skips-released-buffers",
  title: "a revoke right after the last reference went neither fails nor touches the dead buffer",
  rules: "dma-buf R6, vfio-pci-dmabuf R15",
  needs: ["revoke"],
  async run({ device, ...fixture }, turns) {
    const dead = await fixture.export(SIZE);
    const alive = await fixture.export(SIZE);
    const importer = new ScriptedImporter(alive, device);
    dead.close();
    await turns.within(revoke(fixture), "the revoke");
    equal(importer.invalidations, 1, "invalidations of the buffer that lives");
    await turns.within(restore(fixture), "the restore");
    importer.attachment.detach();
    alive.close();
  },
};

/** Revoke, restore and release. */
export const revokeCases: readonly ExporterCase[] = [
  reachesEveryone,
  enodevUntilRestore,
  flagFirst,
  waitsForUnmap,
  twoAtOnce,
  waitsForFences,
  cycles,
  bornRevoked,
  releasedOnce,
  releaseThenRevoke,
];
