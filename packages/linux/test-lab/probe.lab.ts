import { describe, expect, it } from "vitest";
import { openFds, probe } from "../src/index.js";

describe("probe, on the lab's kernel", () => {
  it("finds every entry point that is built in, and says what the others wait for", () => {
    const answers = probe();
    for (const answer of answers) if (!answer.available) console.log(answer.reason, answer.hint);
    const available = answers.filter((answer) => answer.available).map(({ name }) => name);
    expect(available).toEqual(
      expect.arrayContaining([
        "ffi",
        "iommufd",
        "iommufd-map-file",
        "iommufd-test",
        "vfio-container",
        "udmabuf",
        "dma-heap",
      ]),
    );
    // Nothing is bound to vfio-pci at boot, so there is no device file yet.
    expect(answers.find(({ name }) => name === "vfio-cdev")).toMatchObject({ available: false });
    expect(openFds()).toEqual([]);
  });
});
