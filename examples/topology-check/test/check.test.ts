import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { generateServer, type ServerOptions, toCapture } from "@peerbar/p2pdma";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { main } from "../src/cli.js";
import { check, parseRequirements } from "../src/requirements.js";

const GPU = "0000:1b:00.0";
const NIC = "0000:1d:00.0";

test.each<[string, ServerOptions, string]>([
  ["below one switch without ACS redirection", { acs: "off" }, "met"],
  ["where the switch redirects up to the host bridge", { acs: "on" }, "broken"],
])("a NIC is to reach the GPU by the switch alone: %s", (_, options, verdict) => {
  const [finding] = check(generateServer(options), [{ provider: GPU, client: NIC, by: "bus" }]);
  expect(finding).toMatchObject({ verdict });
});

test("through a host bridge that the kernel lists is good enough for `any`", () => {
  const [finding] = check(generateServer({ acs: "on", hostBridges: "listed" }), [
    { provider: GPU, client: NIC, by: "any" },
  ]);
  expect(finding).toMatchObject({ verdict: "met" });
});

test("a device that is not there breaks what is required of it", () => {
  const [finding] = check(generateServer(), [{ provider: GPU, client: "ff:00.0", by: "any" }]);
  expect(finding?.verdict).toBe("broken");
  expect(finding?.reason).toContain("ENODEV");
});

test.each(["{}", "[1]", '[{"provider": "a", "client": "b", "by": "magic"}]'])(
  "a requirements file that is none: %s",
  (text) => {
    expect(() => parseRequirements(text)).toThrow("requirements");
  },
);

describe("the command line", () => {
  let folder = "";
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "topology-check-"));
    const capture = toCapture(generateServer({ acs: "off" }));
    writeFileSync(join(folder, "server.json"), capture);
    const need = (client: string) => JSON.stringify([{ provider: GPU, client, by: "bus" }]);
    writeFileSync(join(folder, "near.json"), need(NIC));
    writeFileSync(join(folder, "far.json"), need("0000:c5:00.0"));
  });
  afterAll(() => {
    rmSync(folder, { recursive: true });
  });

  test.each([
    ["near.json", "server.json", 0, "met"],
    ["far.json", "server.json", 1, "broken"],
    ["none.json", "server.json", 2, "ENOENT"],
    ["near.json", "near.json", 2, "EINVAL"],
  ])("%s %s: exit %i", async (requirements, capture, code, word) => {
    const lines: string[] = [];
    const args = [join(folder, requirements), join(folder, capture)];
    expect(await main(args, (line) => lines.push(line))).toBe(code);
    expect(lines.join("\n")).toContain(word);
  });
});
