import { close, ioctl, O_RDWR, open, platformProblem, type Request } from "@peerbar/linux";
import type { BenchCase, GrowthSeries } from "../case.js";
import { labCase, labSeries } from "../lab.js";
import { cYardstick } from "../yardstick.js";

/** TCGETS, which /dev/null refuses: the way into the kernel and back, and no more. */
const TCGETS: Request = { name: "TCGETS", number: 0x5401 };

/** FIOCLEX, which any descriptor takes. */
const FIOCLEX: Request = { name: "FIOCLEX", number: 0x5451 };

/** A case of one ioctl on /dev/null, `call` being the whole of it; `args` are the C program's. */
function onDevNull(id: string, call: (fd: number) => void, ...args: readonly string[]): BenchCase {
  return {
    id,
    setup() {
      const problem = platformProblem();
      if (problem !== undefined) return { skipped: problem.reason };
      const yardstick = cYardstick("ioctl", ...args);
      if ("skipped" in yardstick) return yardstick;
      const fd = open("/dev/null", O_RDWR);
      return {
        run: () => {
          call(fd);
        },
        yardstick,
        close: () => {
          close(fd);
        },
      };
    },
  };
}

/** An ioctl that works, through the foreign function interface. */
const taken = onDevNull(
  "native/ioctl",
  (fd) => {
    ioctl(fd, FIOCLEX);
  },
  "taken",
);

const answer = new Uint8Array(256);

/** One that fails with ENOTTY, with its error made, thrown and caught. */
const refused = onDevNull("native/ioctl-enotty", (fd) => {
  try {
    ioctl(fd, TCGETS, answer);
  } catch {
    return;
  }
  throw new Error("/dev/null took a TCGETS");
});

/** What a real kernel does: ours through the foreign function interface, against the same loop in C, side by side in one boot. */
const mapAndUnmap = labCase("native/lab-map-unmap");
const exportAndClose = labCase("native/lab-export-close");

/** A call that the kernel answers at once, with so many bytes handed over: the foreign function call must pass them, not copy them. */
const argument: GrowthSeries = {
  id: "native/ioctl",
  unit: "bytes of its argument",
  sizes: [64, 65_536, 16_777_216],
  setup(size) {
    const problem = platformProblem();
    if (problem !== undefined) return { skipped: problem.reason };
    const fd = open("/dev/null", O_RDWR);
    const bytes = new Uint8Array(size);
    return {
      run: () => {
        ioctl(fd, FIOCLEX, bytes);
      },
      batch: 100,
      close: () => {
        close(fd);
      },
    };
  },
};

/** Ranges end where the exporter's BAR does, a page each; mappings where the emulator takes its time. */
export const nativeGrowth: readonly GrowthSeries[] = [
  argument,
  labSeries("native/lab-export-ranges", "ranges", [1, 4, 16, 64, 256]),
  labSeries("native/lab-live-mappings", "live mappings", [10, 100, 1_000, 3_000]),
];

export const native: readonly BenchCase[] = [taken, refused, mapAndUnmap, exportAndClose];
