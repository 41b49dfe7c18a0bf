import type { Attachment, InterconnectName, OpenInterconnectName } from "@peerbar/core";
import type { ConformanceCase } from "../case.js";
import { check, equal, expectErrno } from "../expect.js";
import type { ExporterCapability, ExporterFixture } from "./fixture.js";
import { ScriptedImporter } from "./scripted-importer.js";

type ExporterCase = ConformanceCase<ExporterFixture, ExporterCapability>;

const SIZE = 0x8000n;

const size: ExporterCase = {
  id: "export/size-and-reference",
  title: "a fresh buffer has the size asked for, one reference, no attachment and a name",
  rules: "dma-buf R1, R2",
  async run(fixture) {
    const buffer = await fixture.export(SIZE);
    equal(buffer.size, SIZE, "size");
    equal(buffer.references, 1, "references");
    equal([...buffer.attachments].length, 0, "attachments");
    check(buffer.ops.name !== "", "the exporter has no name");
    buffer.close();
  },
};

const attachIndependent: ExporterCase = {
  id: "attach/independent",
  title: "several attachments of one device live and leave one by one, in any order",
  rules: "dma-buf R13, R14, R15",
  async run({ device, ...fixture }) {
    const buffer = await fixture.export(SIZE);
    const a = new ScriptedImporter(buffer, device);
    const b = new ScriptedImporter(buffer, device);
    const c = new ScriptedImporter(buffer, device);
    b.attachment.detach();
    b.attachment.detach();
    equal([...buffer.attachments].length, 2, "attachments after one of three left");
    a.attachment.detach();
    c.attachment.detach();
    equal([...buffer.attachments].length, 0, "attachments after all left");
    new ScriptedImporter(buffer, device).attachment.detach();
    buffer.close();
  },
};

const keepsPeer2Peer: ExporterCase = {
  id: "attach/decides-peer2peer-once",
  title: "what attach says about peer-to-peer stays as it is through map, unmap and detach",
  rules: "dma-buf R10",
  needs: ["sgt"],
  async run({ device, ...fixture }) {
    const buffer = await fixture.export(0x9000n);
    const importer = new ScriptedImporter(buffer, device);
    const atAttach = importer.attachment.peer2peer;
    await importer.map();
    equal(importer.attachment.peer2peer, atAttach, "peer2peer after map");
    await importer.unmap();
    equal(importer.attachment.peer2peer, atAttach, "peer2peer after unmap");
    importer.attachment.detach();
    buffer.close();
  },
};

const refusesNoPeer2Peer: ExporterCase = {
  id: "attach/refuses-importer-without-peer2peer",
  title: "an importer that cannot take peer-to-peer memory is refused with EOPNOTSUPP",
  rules: "dma-buf R10, vfio-pci-dmabuf R10",
  needs: ["peer2peer-only"],
  async run({ device, ...fixture }) {
    const buffer = await fixture.export(SIZE);
    const importer = { allowPeer2Peer: false, invalidateMappings: () => undefined };
    await expectErrno(() => buffer.attach(device, importer), "EOPNOTSUPP", "attach");
    equal([...buffer.attachments].length, 0, "attachments after the refusal");
    buffer.close();
  },
};

const refusesNotRevocable: ExporterCase = {
  id: "attach/refuses-importer-that-cannot-be-revoked",
  title: "an importer without invalidateMappings is refused with EOPNOTSUPP, a static one too",
  rules: "dma-buf R12, vfio-pci-dmabuf R10",
  needs: ["revocable-only"],
  async run({ device, ...fixture }) {
    const buffer = await fixture.export(SIZE);
    const pinnedOnly = { allowPeer2Peer: true };
    await expectErrno(() => buffer.attach(device, pinnedOnly), "EOPNOTSUPP", "attach, pinned only");
    await expectErrno(() => buffer.attach(device), "EOPNOTSUPP", "attach, static");
    equal([...buffer.attachments].length, 0, "attachments after the refusals");
    buffer.close();
  },
};

const offersHonoured: ExporterCase = {
  id: "offers/honoured",
  title: "every interconnect that is offered is delivered, and covers the whole buffer",
  rules: "iommufd R7, dma-buf R21",
  async run({ device, ...fixture }) {
    const buffer = await fixture.export(SIZE);
    const importer = new ScriptedImporter(buffer, device);
    const offers = buffer.ops.offers(importer.attachment);
    check(offers.length > 0, "the exporter offers nothing");
    for (const name of offers) await deliver(importer, name);
    await importer.leave();
    buffer.close();
  },
};

async function deliver(importer: ScriptedImporter, name: InterconnectName): Promise<void> {
  const { attachment, buffer } = importer;
  equal(attachment.negotiate([name]), name, `negotiation of ${name}`);
  if (name === "sgt") {
    equal((await importer.map()).size, buffer.size, "bytes of the table");
    return;
  }
  const opened = await openHeld(attachment, name);
  check(opened !== undefined, `open of ${name} gives nothing`);
  if (name === "phys") {
    const ranges = opened as readonly { readonly length: bigint }[];
    const total = ranges.reduce((sum, range) => sum + range.length, 0n);
    equal(total, buffer.size, "bytes of the physical ranges");
  }
}

async function openHeld(attachment: Attachment, name: OpenInterconnectName): Promise<unknown> {
  const held = await attachment.buffer.reservation.lock();
  try {
    return attachment.open(name, held);
  } finally {
    held.release();
  }
}

const offersRefusal: ExporterCase = {
  id: "offers/refusal-names-both-lists",
  title: "where nothing is common the importer gets EOPNOTSUPP with both lists, and may ask again",
  rules: "iommufd M13",
  async run({ device, ...fixture }) {
    const buffer = await fixture.export(SIZE);
    const { attachment } = new ScriptedImporter(buffer, device);
    const offers = buffer.ops.offers(attachment);
    const foreign = "conformance-unknown" as InterconnectName;
    for (let i = 0; i < 6; i++) {
      const error = await expectErrno(
        () => attachment.negotiate([foreign]),
        "EOPNOTSUPP",
        "negotiation of an unknown interconnect",
      );
      for (const name of [foreign, ...offers]) {
        check(error.message.includes(name), `the message does not name ${name}: ${error.message}`);
      }
    }
    attachment.detach();
    buffer.close();
  },
};

/** Export, attach and negotiation. */
export const attachCases: readonly ExporterCase[] = [
  size,
  attachIndependent,
  keepsPeer2Peer,
  refusesNoPeer2Peer,
  refusesNotRevocable,
  offersHonoured,
  offersRefusal,
];
