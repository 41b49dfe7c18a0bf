import { type DmaBuf, isDmaBufError } from "@peerbar/core";
import { check, equal, show } from "../expect.js";
import { probeDevice } from "../mapper-probe.js";
import type { ExporterFixture } from "./fixture.js";
import { ScriptedImporter } from "./scripted-importer.js";

/** More steps than any map of the suite's small buffers takes. */
const MANY = 100;

/**
 * Makes the first, second, ... call of the mapper fail until a map needs fewer. An exporter may find another way after a failure: then that
 * map counts as a good one, and must give everything back at unmap.
 *
 * @param grants - whether the mapper has IOVAs to give; without, a map may also fail from the start.
 */
export async function failEveryStep(
  buffer: DmaBuf,
  fixture: ExporterFixture,
  { grants }: { readonly grants: boolean } = { grants: true },
): Promise<void> {
  const { device, probe } = probeDevice(fixture.device);
  check(probe !== undefined, "the fixture's device has no mapper");
  probe.grants = grants;
  const importer = new ScriptedImporter(buffer, device);
  let failures = 0;
  for (let reached = true; reached && failures < MANY; ) {
    probe.failNth(failures + 1);
    try {
      await importer.map();
      await importer.unmap();
    } catch (error) {
      check(isDmaBufError(error), `map failed with ${show(error)}`);
    }
    reached = probe.calls > failures;
    if (reached) failures += 1;
    const when = reached ? `failure ${String(failures)}` : "the last try";
    equal(importer.attachment.mappings, 0, `mappings after ${when}`);
    equal(probe.linked, 0n, `bytes still linked after ${when}`);
    equal(probe.mapped, 0, `ranges still mapped after ${when}`);
  }
  probe.failNth(0);
  probe.grants = true;
  check(failures < MANY, "map fails although the mapper does not");
  if (grants) check(failures > 0, "map never asked the device's mapper");
  if (grants) {
    await importer.map();
    await importer.leave();
  } else {
    // By a new attachment: an exporter may ask for IOVA space at attach, and not again.
    importer.attachment.detach();
    const late = new ScriptedImporter(buffer, device);
    await late.map();
    await late.leave();
  }
  check(probe.isEmpty, "the mapper still holds something after detach");
}
