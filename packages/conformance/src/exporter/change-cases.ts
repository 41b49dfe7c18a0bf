import { type DmaBuf, FenceContext, type Held } from "@peerbar/core";
import type { ConformanceCase } from "../case.js";
import { ConformanceFailure, check, equal, expectErrno } from "../expect.js";
import { probeDevice } from "../mapper-probe.js";
import type { ExporterCapability, ExporterFixture } from "./fixture.js";
import { ScriptedImporter } from "./scripted-importer.js";

type ExporterCase = ConformanceCase<ExporterFixture, ExporterCapability>;

const SIZE = 0x8000n;

const drainsEveryBuffer: ExporterCase = {
  id: "revoke/drains-every-buffer",
  title: "a revoke of several buffers waits for the mappings and fences of each, not of one",
  rules: "dma-buf R30, vfio-pci-dmabuf R16",
  needs: ["revoke", "sgt"],
  async run({ device, ...fixture }, turns) {
    const buffers: DmaBuf[] = [];
    for (let i = 0; i < 3; i++) buffers.push(await fixture.export(SIZE));
    const importers = buffers.map((buffer) => new ScriptedImporter(buffer, device));
    for (const slow of importers) {
      slow.whenInvalidated = "keep";
      await slow.map();
    }
    const revoked = must(fixture.revoke?.());
    // Neither the first nor the last is the one to wait for.
    for (const index of [0, 2, 1]) {
      const which = `buffer ${String(index)}`;
      check(await turns.isPending(revoked), `revoke finished with ${which} mapped`);
      await turns.within(importers[index]?.unmap() ?? revoked, "unmap during the revoke");
    }
    await turns.within(revoked, "the revoke, with everything unmapped");
    await turns.within(must(fixture.restore?.()), "the restore");
    for (const [index, buffer] of buffers.entries()) {
      const fence = await pending(buffer);
      const fenced = must(fixture.revoke?.());
      const which = `buffer ${String(index)}`;
      check(await turns.isPending(fenced), `revoke finished with a fence of ${which} pending`);
      fence.signal();
      await turns.within(fenced, "the revoke, with the fence signalled");
      await turns.within(must(fixture.restore?.()), "the restore");
    }
    for (const importer of importers) await importer.leave();
    for (const buffer of buffers) buffer.close();
  },
};

const fencesOfImporters: ExporterCase = {
  id: "revoke/waits-for-fences-of-the-invalidation",
  title: "a fence that an importer adds when it is told, for DMA still running, is waited for too",
  rules: "dma-buf R28, R30, R36, vfio-pci-dmabuf R16",
  needs: ["revoke"],
  async run({ device, ...fixture }, turns) {
    const buffer = await fixture.export(SIZE);
    const importer = new ScriptedImporter(buffer, device);
    contexts += 1;
    const fence = new FenceContext(contexts, "conformance-importer").next();
    const stillRunning = (held: Held): void => {
      buffer.reservation.reserveFences(held, 1);
      buffer.reservation.addFence(held, fence, "bookkeep");
    };
    importer.whenInvalidated = stillRunning;
    const revoked = must(fixture.revoke?.());
    check(await turns.isPending(revoked), "revoke finished with the importer's DMA running");
    equal(importer.invalidations, 1, "invalidations");
    fence.signal();
    await turns.within(revoked, "the revoke, with the fence signalled");
    importer.whenInvalidated = "unmap";
    await turns.within(must(fixture.restore?.()), "the restore");
    importer.attachment.detach();
    buffer.close();
  },
};

const failedMapIsNone: ExporterCase = {
  id: "revoke/waits-for-no-failed-map",
  title: "a map that failed is none: a revoke does not wait for its unmap, nor counts it away",
  rules: "vfio-pci-dmabuf R12, R13, R16, R38",
  needs: ["revoke", "sgt", "mapper"],
  async run(fixture, turns) {
    const buffer = await fixture.export(SIZE);
    const { device, probe } = probeDevice(fixture.device);
    const importer = new ScriptedImporter(buffer, device);
    probe?.failNth(1);
    // An exporter that finds another way has mapped after all.
    await importer.map().catch(() => undefined);
    probe?.failNth(0);
    await importer.unmap();
    importer.whenInvalidated = "keep";
    await importer.map();
    const revoked = must(fixture.revoke?.());
    check(await turns.isPending(revoked), "after a failed map a revoke finished with one mapped");
    await turns.within(importer.unmap(), "unmap during the revoke");
    await turns.within(revoked, "the revoke, with everything unmapped");
    importer.attachment.detach();
    buffer.close();
  },
};

const restoreWaits: ExporterCase = {
  id: "revoke/restore-waits-its-turn",
  title: "a restore during a revoke lets nobody map before the revoke is done, and then works",
  rules: "dma-buf R31, vfio-pci-dmabuf R16, R17",
  needs: ["revoke", "sgt"],
  async run({ device, ...fixture }, turns) {
    const buffer = await fixture.export(SIZE);
    const importer = new ScriptedImporter(buffer, device);
    importer.whenInvalidated = "keep";
    const table = await importer.map();
    const revoked = must(fixture.revoke?.());
    check(await turns.isPending(revoked), "revoke finished with a mapping live");
    const restored = must(fixture.restore?.());
    check(await turns.isPending(restored), "restore finished before the revoke that it undoes");
    await expectErrno(() => importer.map(), "ENODEV", "map during the revoke, restore asked for");
    check(await turns.isPending(revoked), "revoke finished with a mapping live");
    await turns.within(importer.unmap(table), "unmap during the revoke");
    await turns.within(Promise.all([revoked, restored]), "the revoke and the restore");
    await importer.map();
    await importer.leave();
    buffer.close();
  },
};

const restoreOfWhatIsThere: ExporterCase = {
  id: "restore/of-what-is-there",
  title: "a restore of what was not taken tells nobody, and forgets no mapping",
  rules: "vfio-pci-dmabuf R16, R17",
  needs: ["revoke", "sgt"],
  async run({ device, ...fixture }, turns) {
    const buffer = await fixture.export(SIZE);
    const importer = new ScriptedImporter(buffer, device);
    importer.whenInvalidated = "keep";
    await importer.map();
    await turns.within(must(fixture.restore?.()), "the restore");
    equal(importer.invalidations, 0, "invalidations by a restore of what is there");
    const revoked = must(fixture.revoke?.());
    check(await turns.isPending(revoked), "a revoke after that finished with a mapping live");
    await turns.within(importer.unmap(), "unmap during the revoke");
    await turns.within(revoked, "the revoke, with everything unmapped");
    importer.attachment.detach();
    buffer.close();
  },
};

const keepsNoReference: ExporterCase = {
  id: "release/after-revoke-and-restore",
  title: "revokes and restores, done twice or overtaken by the last close, keep no reference",
  rules: "dma-buf R6, vfio-pci-dmabuf R15, R16",
  needs: ["revoke"],
  async run({ device, ...fixture }, turns) {
    const buffer = await fixture.export(SIZE);
    new ScriptedImporter(buffer, device).attachment.detach();
    for (const change of ["revoke", "revoke", "restore", "restore"] as const) {
      await turns.within(must(fixture[change]?.()), `the ${change}`);
      equal(buffer.references, 1, `references after a ${change}`);
    }
    const fence = await pending(buffer);
    const revoked = must(fixture.revoke?.());
    check(await turns.isPending(revoked), "revoke finished before a fence signalled");
    buffer.close();
    await turns.settle();
    fence.signal();
    await turns.within(revoked, "the revoke of a buffer that was closed meanwhile");
    await turns.settle();
    check(buffer.released, "the buffer that was closed during a revoke is not released");
    await turns.within(must(fixture.restore?.()), "the restore");
  },
};

const closeIsFinal: ExporterCase = {
  id: "close/is-final",
  title: "after close no restore, no second close and no revoke brings a buffer back",
  rules: "vfio-pci-dmabuf R28, R29",
  needs: ["close", "revoke", "sgt"],
  async run({ device, ...fixture }, turns) {
    const buffer = await fixture.export(SIZE);
    const importer = new ScriptedImporter(buffer, device);
    await turns.within(must(fixture.close?.()), "the close");
    for (const change of ["restore", "revoke", "restore"] as const) {
      // A device that is closed may refuse: only what becomes of the buffer matters.
      await turns.within(must(fixture[change]?.()).catch(ignored), `a ${change} after close`);
      await expectErrno(() => importer.map(), "ENODEV", `map after close and ${change}`);
    }
    importer.attachment.detach();
    buffer.close();
  },
};

const refusalOrder: ExporterCase = {
  id: "attach/order-of-refusals",
  title:
    "of two reasons to refuse an attach the first counts: no peer-to-peer, memory away, not revocable",
  rules: "vfio-pci-dmabuf R10",
  needs: ["revoke", "revocable-only", "peer2peer-only"],
  async run({ device, ...fixture }, turns) {
    const buffer = await fixture.export(SIZE);
    await turns.within(must(fixture.revoke?.()), "the revoke");
    const neither = { allowPeer2Peer: false };
    const pinnedOnly = { allowPeer2Peer: true };
    await expectErrno(() => buffer.attach(device, neither), "EOPNOTSUPP", "no peer, away");
    await expectErrno(() => buffer.attach(device), "EOPNOTSUPP", "static, away");
    await expectErrno(() => buffer.attach(device, pinnedOnly), "ENODEV", "away, not revocable");
    equal([...buffer.attachments].length, 0, "attachments after the refusals");
    buffer.close();
  },
};

let contexts = 0x7300;

/** A KERNEL fence on the buffer, not signalled. */
async function pending(buffer: DmaBuf) {
  contexts += 1;
  const fence = new FenceContext(contexts, "conformance-change").next();
  const held = await buffer.reservation.lock();
  buffer.reservation.reserveFences(held, 1);
  buffer.reservation.addFence(held, fence, "kernel");
  held.release();
  return fence;
}

function ignored(): void {
  // Refused.
}

function must(operation: Promise<void> | undefined): Promise<void> {
  return operation ?? Promise.reject(new ConformanceFailure("the fixture lacks the operation"));
}

/** Changes of the memory's availability that meet each other, several buffers, failures, or the last reference. */
export const changeCases: readonly ExporterCase[] = [
  drainsEveryBuffer,
  fencesOfImporters,
  failedMapIsNone,
  restoreWaits,
  restoreOfWhatIsThere,
  keepsNoReference,
  closeIsFinal,
  refusalOrder,
];
