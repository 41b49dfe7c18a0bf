import { close, ioctl, O_RDWR, open, platformProblem, type Request } from "@peerbar/linux";
import type { BenchCase } from "../case.js";
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

export const native: readonly BenchCase[] = [refused];
