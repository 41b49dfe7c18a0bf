import { close, ioctl, O_RDWR, open, platformProblem, type Request } from "@peerbar/linux";
import type { BenchCase } from "../case.js";
import { labCase } from "../lab.js";
import { cYardstick } from "../yardstick.js";

/** TCGETS, which /dev/null refuses: the way into the kernel and back, and no more. */
const TCGETS: Request = { name: "TCGETS", number: 0x5401 };

/** An ioctl that fails with ENOTTY, through the foreign function interface and with its error made and thrown. */
const refused: BenchCase = {
  id: "native/ioctl-enotty",
  setup() {
    const problem = platformProblem();
    if (problem !== undefined) return { skipped: problem.reason };
    const yardstick = cYardstick("ioctl");
    if ("skipped" in yardstick) return yardstick;
    const fd = open("/dev/null", O_RDWR);
    const answer = new Uint8Array(256);
    return {
      run: () => {
        try {
          ioctl(fd, TCGETS, answer);
        } catch {
          return;
        }
        throw new Error("/dev/null took a TCGETS");
      },
      yardstick,
      close: () => {
        close(fd);
      },
    };
  },
};

/** What a real kernel does: ours through the foreign function interface, against the same loop in C, side by side in one boot. */
const mapAndUnmap = labCase("native/lab-map-unmap");
const exportAndClose = labCase("native/lab-export-close");

export const native: readonly BenchCase[] = [refused, mapAndUnmap, exportAndClose];
