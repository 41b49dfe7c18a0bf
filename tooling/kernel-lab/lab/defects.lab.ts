import {
  closeSync,
  constants,
  existsSync,
  openSync,
  readFileSync,
  readSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { close, ioctlStruct, iommufd } from "@peerbar/linux";
import { liveTopology } from "@peerbar/p2pdma/node";
import { describe, expect, test } from "vitest";
import { KernelDevice } from "../differential/kernel-device.js";
import { Oracle } from "./oracle-client.js";

/**
 * The live defects of known-bugs on the kernel that runs here. Each test asserts that the kernel is wrong in the way that is written in
 * docs/kernel-differences.md: one that fails means that the kernel was mended, or the page is wrong.
 */
const topology = liveTopology();
const translated = ["dma", "dma-fq"].includes(process.env.PEERBAR_LAB_IOMMU ?? "");
const unlisted = process.env.PEERBAR_LAB_MACHINE === "switch-intel";
const mapped = translated && !unlisted;
const virtio = process.env.PEERBAR_LAB_MACHINE === "switch-virtio";
const onSwitch = ["switch", "switch-strict"].includes(process.env.PEERBAR_LAB_MACHINE ?? "");
const EXPORTER = "0000:01:00.0";
const FAR = "0000:06:00.0";
const MIB = 0x10_0000;
const IOMMU_CACHE = 4;
const IOMMU_MMIO = 16;
const DEBUG = "/sys/kernel/debug";

/** Runs with an open device and an oracle, and closes both. */
function withDevice<T>(address: string, act: (device: KernelDevice, oracle: Oracle) => T): T {
  using oracle = new Oracle();
  const device = new KernelDevice(address, true);
  try {
    return act(device, oracle);
  } finally {
    device.close();
  }
}

function withBuffer<T>(
  device: KernelDevice,
  ranges: readonly (readonly [number, number])[],
  act: (fd: number) => T,
): T {
  const fd = device.exportDmaBuf(2, ranges);
  try {
    return act(fd);
  } finally {
    close(fd);
  }
}

interface Watched {
  readonly what: string;
  readonly a: bigint;
  readonly b: bigint;
  readonly c: bigint;
}

/** What the kernel did with IOVAs and IOMMU mappings while `act` ran. */
function watch(oracle: Oracle, act: () => void): Watched[] {
  expect(oracle.ask("watch begin").errno).toBe(0);
  act();
  return oracle
    .text("watch end")
    .slice(1)
    .map((line) => {
      const [what = "", ...numbers] = line.split(" ");
      const [a = 0n, b = 0n, c = 0n] = numbers.map((number) => BigInt(`0x${number}`));
      return { what, a, b, c };
    });
}

describe("Linux 7.2's live defects", () => {
  test.runIf(mapped)("B9: two ranges through an IOVA are EADDRINUSE", () => {
    withDevice(EXPORTER, (device, oracle) => {
      const ranges = [
        [0, MIB],
        [2 * MIB, MIB],
      ] as const;
      withBuffer(device, ranges, (fd) => {
        const attachment = oracle.attach(fd, FAR, "dynamic");
        expect(oracle.map(attachment).errno).toBe(-98);
        oracle.detach(attachment);
      });
    });
  });

  test.runIf(virtio)(
    "B9 behind virtio-iommu: the second range's refusal is lost, and its bytes are in nobody's table",
    () => {
      // Unmapping what was linked twice may come out even or not, by how the sizes fall together.
      writeFileSync("/dev/kmsg", "peerbar-lab: allow __iommu_dma_iova_unlink\n");
      withDevice(EXPORTER, (device, oracle) => {
        const ranges = [
          [0, MIB],
          [2 * MIB, 2 * MIB],
        ] as const;
        withBuffer(device, ranges, (fd) => {
          const attachment = oracle.attach(fd, FAR, "dynamic");
          const { errno, words, entries } = oracle.map(attachment);
          console.log(errno, words, entries);
          expect(errno).toBe(0);
          expect(entries.map(({ length }) => length)).toEqual([3 * MIB]);
          oracle.unmap(attachment, Number(words[0]));
          oracle.detach(attachment);
        });
      });
    },
  );

  test.runIf(mapped)("B10: an allocation that fails after the IOVA was taken leaks it", () => {
    allowFailures();
    withDevice(EXPORTER, (device, oracle) => {
      withBuffer(device, [[0, 2 * MIB]], (fd) => {
        const attachment = oracle.attach(fd, FAR, "dynamic");
        const failing = openSync("/proc/thread-self/fail-nth", "r+");
        let leaks = 0;
        const seen: string[] = [];
        for (let nth = 1; nth <= 12; nth++) {
          let errno = 0;
          const events = watch(oracle, () => {
            writeSync(failing, String(nth), 0);
            errno = oracle.map(attachment).errno;
            writeSync(failing, "0", 0);
          });
          const taken = events.filter(({ what, a }) => what === "alloc-iova" && a !== 0n).length;
          const given = events.filter(({ what }) => what === "free-iova").length;
          seen.push(
            `allocation ${String(nth)}: errno ${String(errno)}, ${String(taken)} taken, ${String(given)} given back`,
          );
          if (errno !== 0) leaks += taken - given;
        }
        console.log(seen.join("\n"));
        closeSync(failing);
        expect(leaks).toBeGreaterThan(0);
        oracle.detach(attachment);
      });
    });
  });

  test.runIf(mapped)(
    "B14: low power revokes what is there, and a buffer exported then maps all the same",
    () => {
      withDevice(EXPORTER, (device, oracle) => {
        withBuffer(device, [[0, MIB]], (before) => {
          const old = oracle.attach(before, FAR, "dynamic");
          expect(oracle.map(old).errno).toBe(0);
          device.lowPower(true);
          expect(oracle.state(old)).toMatchObject({ invalidations: 1, mappings: 0 });
          expect(oracle.map(old).errno).toBe(-19);
          withBuffer(device, [[0, MIB]], (during) => {
            const late = oracle.attach(during, FAR, "dynamic");
            expect(oracle.map(late).errno).toBe(0);
            oracle.detach(late);
          });
          device.lowPower(false);
          expect(oracle.map(old).errno).toBe(0);
          oracle.detach(old);
        });
      });
    },
  );

  test.runIf(onSwitch)("B46: a change of ACS is not seen by maps until a distance query", () => {
    const [provider, client, above] = ["0000:07:00.0", "0000:07:00.1", "0000:00:07.0"];
    withDevice(provider, (device, oracle) => {
      withBuffer(device, [[0, MIB]], (fd) => {
        const bar = topology.functions.find(({ address }) => address === provider)?.bars[2]?.start;
        const attachment = oracle.attach(fd, client, "dynamic");
        const address = (): bigint | undefined => {
          const { errno, words, entries } = oracle.map(attachment);
          expect(errno).toBe(0);
          oracle.unmap(attachment, Number(words[0]));
          return entries[0]?.address;
        };
        oracle.distance(provider, client);
        expect(address()).not.toBe(bar);
        const control = setAcs(above, 0);
        expect(address()).not.toBe(bar);
        oracle.distance(provider, client);
        expect(address()).toBe(bar);
        setAcs(above, control);
        oracle.distance(provider, client);
        expect(address()).not.toBe(bar);
        oracle.detach(attachment);
      });
    });
  });

  test.runIf(unlisted)(
    "B47: the host bridge is named in the log for a redirect, whatever the verbosity, and else never",
    () => {
      using oracle = new Oracle();
      const line = "Host bridge not in P2PDMA whitelist";
      expect(logOf(() => oracle.distance("0000:01:00.0", "0000:06:00.0", true))).not.toContain(
        line,
      );
      expect(logOf(() => oracle.distance("0000:07:00.0", "0000:07:00.1", false))).toContain(line);
    },
  );

  test.runIf(translated)(
    "B59: a domain made after MAP_FILE maps the BAR as cached memory, without the MMIO attribute",
    () => {
      withDevice(EXPORTER, (device, oracle) => {
        withBuffer(device, [[0, MIB]], (fd) => {
          const { iommu } = device;
          if (iommu === undefined) throw new Error("no IOMMU");
          const flags = iommufd.IOMMU_IOAS_MAP_READABLE | iommufd.IOMMU_IOAS_MAP_WRITEABLE;
          const first = watch(oracle, () => {
            ioctlStruct(iommu.fd, iommufd.IOMMU_IOAS_MAP_FILE, {
              flags,
              ioas_id: iommu.ioas,
              fd,
              length: BigInt(MIB),
            });
          });
          let hwpt = 0;
          const second = watch(oracle, () => {
            const request = { dev_id: iommu.device, pt_id: iommu.ioas };
            hwpt = ioctlStruct(iommu.fd, iommufd.IOMMU_HWPT_ALLOC, request).out.out_hwpt_id;
          });
          const attributes = (events: readonly Watched[]): bigint[] => [
            ...new Set(
              events
                .filter(({ what }) => what === "map")
                .map(({ c }) => c & BigInt(IOMMU_CACHE | IOMMU_MMIO)),
            ),
          ];
          expect(attributes(first)).toEqual([BigInt(IOMMU_MMIO)]);
          expect(attributes(second)).toEqual([BigInt(IOMMU_CACHE)]);
          ioctlStruct(iommu.fd, iommufd.IOMMU_DESTROY, { id: hwpt });
          ioctlStruct(iommu.fd, iommufd.IOMMU_IOAS_UNMAP, {
            ioas_id: iommu.ioas,
            iova: 0n,
            length: 2n ** 64n - 1n,
          });
        });
      });
    },
  );
});

/** Lets /proc/thread-self/fail-nth fail allocations that may wait too, without a stack trace on the console. */
function allowFailures(): void {
  for (const [file, value] of [
    ["failslab/ignore-gfp-wait", "N"],
    ["failslab/verbose", "0"],
    ["fail_page_alloc/ignore-gfp-wait", "N"],
    ["fail_page_alloc/verbose", "0"],
  ] as const) {
    const path = `${DEBUG}/${file}`;
    if (existsSync(path)) writeFileSync(path, value);
  }
}

/** Writes the ACS control register of a port. @returns what it was */
function setAcs(address: string, value: number): number {
  const path = `/sys/bus/pci/devices/${address}/config`;
  const config = readFileSync(path);
  let at = 0x100;
  for (let left = 480; left > 0 && at >= 0x100; left--) {
    const header = config.readUInt32LE(at);
    if ((header & 0xffff) === 0x0d) break;
    at = header >>> 20;
  }
  const before = config.readUInt16LE(at + 6);
  config.writeUInt16LE(value, at + 6);
  writePart(path, config.subarray(at + 6, at + 8), at + 6);
  return before;
}

function writePart(path: string, bytes: Uint8Array, position: number): void {
  const fd = openSync(path, "r+");
  try {
    writeSync(fd, bytes, 0, bytes.length, position);
  } finally {
    closeSync(fd);
  }
}

/** What the kernel logged while `act` ran. */
function logOf(act: () => unknown): string {
  const fd = openSync("/dev/kmsg", constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    drain(fd);
    act();
    return drain(fd);
  } finally {
    closeSync(fd);
  }
}

/** Each read gives one record; the last one fails with EAGAIN. */
function drain(fd: number): string {
  const buffer = Buffer.alloc(8192);
  let text = "";
  for (;;) {
    try {
      text += buffer.toString("utf8", 0, readSync(fd, buffer));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EAGAIN") return text;
      if ((error as NodeJS.ErrnoException).code !== "EPIPE") throw error;
    }
  }
}
