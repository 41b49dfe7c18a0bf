import {
  backendCases,
  type ConformanceCase,
  exporterCases,
  importerCases,
  runSuite,
  type Subject,
} from "@peerbar/conformance";
import { describe, expect, it } from "vitest";
import { wrongBackends } from "./wrong/backends.js";
import { wrongExporters } from "./wrong/exporters.js";
import { wrongImporters } from "./wrong/importers.js";

/** Wrong in one thing that several cases ask for. */
const also: Readonly<Record<string, readonly string[]>> = {
  "attach/independent": ["map/without-iova-space"],
  "attach/refuses-importer-without-peer2peer": ["attach/order-of-refusals"],
  "map/failure-in-a-later-range-leaves-nothing": ["map/without-iova-space"],
  "import/several-ranges": ["import/write-crosses-entries"],
  "map/without-the-lock-refused": ["buffer/invalidate-needs-the-lock"],
  "revoke/waits-for-fences-of-every-usage": [
    "buffer/cpu-access-waits-at-its-begin",
    "revoke/waits-for-fences-of-the-invalidation",
  ],
  "close/leaves-nothing": ["race/two-closes"],
  "race/revoke-during-close": ["race/two-closes"],
  "release/once-after-the-last-reference": ["export/failed-fd-releases-once"],
  "restore/dynamic-importer-works-again": [
    "restore/scattered-after-a-move",
    "invalidate/waits-for-the-move",
    "restore/memory-elsewhere",
  ],
  "space/permissions": ["space/copy-does-not-widen", "space/permissions-in-every-domain"],
  "space/late-domain-is-filled": ["space/restore-takes-what-is-given"],
  "error/refusal-of-revocable-exporters": ["invalidate/reaches-every-import"],
  "import/waits-for-kernel-fences": ["invalidate/waits-for-the-move"],
};

/** Every case has an implementation that is wrong in just that, and is the one case that fails on it. */
function caughtByTheirCase<F, C extends string>(
  name: string,
  cases: readonly ConformanceCase<F, C>[],
  wrong: Readonly<Record<string, Subject<F, C>>>,
): void {
  describe(`wrong ${name}`, () => {
    it("there is one for each case", () => {
      expect(Object.keys(wrong).sort()).toEqual(cases.map(({ id }) => id).sort());
    });
    for (const [id, subject] of Object.entries(wrong)) {
      it(`${id} fails, and nothing else`, async () => {
        const report = await runSuite(cases, subject);
        const failed = report.cases.filter(({ status }) => status === "failed");
        expect(failed.map((one) => one.id).sort()).toEqual([id, ...(also[id] ?? [])].sort());
      });
    }
  });
}

caughtByTheirCase("exporters", exporterCases, wrongExporters);
caughtByTheirCase("importers", importerCases, wrongImporters);
caughtByTheirCase("backends", backendCases, wrongBackends);
