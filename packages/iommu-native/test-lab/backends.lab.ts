import { type BackendSubject, backendCases } from "@peerbar/conformance";
import { registerSuite } from "@peerbar/conformance/vitest";
import { describe, it } from "vitest";
import { ending, teardown, turn } from "./fixture-ends.js";
import { labDevices, nothingOpen } from "./machine.js";
import { PhysOverMemfd } from "./phys-over-memfd.js";

labDevices();

const backend: BackendSubject = {
  role: "backend",
  name: "iommufd of the kernel, its selftest's device",
  capabilities: ["phys", "ports"],
  knownGaps: {
    "space/permissions": "the selftest's device tells where an IOVA leads, not who may use it",
    "space/permissions-in-every-domain": "as above: it tells not who may use an IOVA",
    "space/copy-of-what-is-revoked":
      "a file is not revoked in the kernel, but unmapped there: nothing is left to copy",
    "space/ranges-in-order": "iommufd M15: one range a dma-buf; a file is one range",
  },
  turn,
  teardown,
  setup: () => {
    const native = new PhysOverMemfd();
    return ending(
      {
        iommu: native.iommu,
        connect: (one) => native.connect(one),
        memory: (length) => native.memory(length),
      },
      () => {
        native[Symbol.dispose]();
        return nothingOpen();
      },
    );
  },
};

registerSuite({ describe, it }, backendCases, backend);
