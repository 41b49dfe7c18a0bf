import { expect, it } from "vitest";
import { parseTopology, toCapture } from "../src/index.js";

const ESC = "\u001b";

it("names and all other text of an input lose what would steer a terminal", () => {
  const listing = parseTopology(
    `00:00.0 Host bridge: Evil ${ESC}]0;title\u0007 ${ESC}[2J\u009b31m\u202ename\n\tFlags: fast devsel\n\tKernel driver in use: a${ESC}[1mb\n`,
  );
  const capture = toCapture(listing);
  const damaged = capture
    .replace('"driver":"', '"deviceNames":["nvme\\u001b[1m0"],"driver":"\\u001b')
    .replace('"iommuGroups": []', '"iommuGroups": [{"id":1,"type":"\\u001b[1mDMA"}]')
    .replace('"missing":[', '"missing":["\\u001b[1m",')
    .replace(
      '"schemaVersion"',
      '"machine":{"cpu":"intel","cpuEvidence":"\\u001b[1m"},"schemaVersion"',
    );
  for (const topology of [listing, parseTopology(damaged)]) {
    expect(JSON.stringify(topology)).not.toMatch(/\\u00[01][0-9a-f]|[\u007f-\u009f\u202e]/);
  }
  expect(listing.at(0).driver).toBe("a\ufffd[1mb");
  expect(parseTopology(damaged).machine?.cpuEvidence).toBe("\ufffd[1m");
});
