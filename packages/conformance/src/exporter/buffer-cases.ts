import { type DmaBuf, FenceContext, type FenceUsage, POLLIN, POLLOUT } from "@peerbar/core";
import type { ConformanceCase } from "../case.js";
import { check, equal, expectErrno, expectViolation } from "../expect.js";
import type { ExporterCapability, ExporterFixture } from "./fixture.js";

type ExporterCase = ConformanceCase<ExporterFixture, ExporterCapability>;

const SIZE = 0x8000n;

const pollByDirection: ExporterCase = {
  id: "buffer/poll-by-direction",
  title: "a pending READ fence holds up writers alone, a WRITE fence both, BOOKKEEP nobody",
  rules: "dma-buf R48, known-bugs B52",
  async run(fixture, turns) {
    const both = POLLIN | POLLOUT;
    const ready: readonly (readonly [FenceUsage, number])[] = [
      ["read", POLLIN],
      ["write", 0],
      ["kernel", 0],
      ["bookkeep", both],
    ];
    for (const [usage, expected] of ready) {
      const buffer = await fixture.export(SIZE);
      equal(buffer.poll(both), both, "ready without a fence");
      const fence = await pending(buffer, usage);
      equal(buffer.poll(both), expected, `ready with a ${usage} fence pending`);
      fence.signal();
      await turns.settle();
      equal(buffer.poll(both), both, `ready with the ${usage} fence signalled`);
      buffer.close();
    }
  },
};

const cpuAccess: ExporterCase = {
  id: "buffer/cpu-access-waits-at-its-begin",
  title:
    "begin waits for the device's writes, for its reads too where the CPU writes; end never waits",
  rules: "dma-buf R42, R43, known-bugs B53",
  async run(fixture, turns) {
    const waits: readonly (readonly [FenceUsage, boolean, boolean])[] = [
      ["write", true, true],
      ["read", false, true],
      ["bookkeep", false, false],
    ];
    for (const [usage, reader, writer] of waits) {
      const buffer = await fixture.export(SIZE);
      const fence = await pending(buffer, usage);
      const reads = buffer.beginCpuAccess("from-device");
      const writes = buffer.beginCpuAccess("to-device");
      equal(await turns.isPending(reads), reader, `a reader waits for a ${usage} fence`);
      equal(await turns.isPending(writes), writer, `a writer waits for a ${usage} fence`);
      const end = buffer.endCpuAccess("bidirectional");
      check(!(await turns.isPending(end)), `end waits for a ${usage} fence`);
      fence.signal();
      await turns.within(Promise.all([reads, writes]), "begin, with the fence signalled");
      buffer.close();
    }
  },
};

const invalidateLocked: ExporterCase = {
  id: "buffer/invalidate-needs-the-lock",
  title: "importers are told with the reservation held or not at all",
  rules: "dma-buf R16, R27, known-bugs B55",
  async run({ device, ...fixture }) {
    const buffer = await fixture.export(SIZE);
    let told = 0;
    const attachment = buffer.attach(device, {
      allowPeer2Peer: true,
      invalidateMappings: () => {
        told += 1;
      },
    });
    const held = await buffer.reservation.lock();
    held.release();
    await expectViolation(
      () => {
        buffer.invalidateMappings(held);
      },
      "dma-buf R16",
      "invalidate with a proof that was released",
    );
    equal(told, 0, "importers told without the lock");
    attachment.detach();
    buffer.close();
  },
};

const mmapBounds: ExporterCase = {
  id: "buffer/mmap-bounds",
  title: "mmap takes whole pages inside the buffer: one past the end, or a wrap, is refused",
  rules: "dma-buf R50, known-bugs B54",
  needs: ["mmap"],
  async run(fixture) {
    const buffer = await fixture.export(SIZE);
    const codes = ["EINVAL", "EOVERFLOW"] as const;
    const refuse = async (offset: bigint, length: bigint, what: string): Promise<void> => {
      await expectErrno(() => buffer.mmap({ offset, length }), codes, what);
    };
    await refuse(SIZE, 0x1000n, "a page at the end");
    await refuse(0x1000n, SIZE, "one page past the end");
    await refuse(((1n << 52n) - 1n) << 12n, 0x2000n, "a page offset near 2^52");
    await refuse((1n << 64n) - 0x1000n, 0x2000n, "an offset and length that wrap");
    const view = buffer.mmap({ offset: SIZE - 0x1000n, length: 0x1000n });
    equal(view.bytes.length, 0x1000, "bytes of the last page");
    view.unmap();
    buffer.close();
  },
};

let contexts = 0x7200;

/** A fence of that usage on the buffer, not signalled. */
async function pending(buffer: DmaBuf, usage: FenceUsage) {
  contexts += 1;
  const fence = new FenceContext(contexts, `conformance-${usage}`).next();
  const held = await buffer.reservation.lock();
  buffer.reservation.reserveFences(held, 1);
  buffer.reservation.addFence(held, fence, usage);
  held.release();
  return fence;
}

/** The buffer as a file: poll, CPU access, mmap, and the lock of its importers. */
export const bufferCases: readonly ExporterCase[] = [
  pollByDirection,
  cpuAccess,
  invalidateLocked,
  mmapBounds,
];
