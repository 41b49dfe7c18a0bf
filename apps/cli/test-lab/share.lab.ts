import { once } from "node:events";
import { existsSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { driverOf, engines, memories, nothingLeft, runIn, runInLab, startTool } from "./lab.js";

const provider = memories()[0] ?? "";
const client = engines()[0] ?? "";

describe("share --backend native, in the lab", () => {
  it("binds, exports, maps, releases; both functions are as they were", async () => {
    const argv = ["share", provider, client, "--bar", "2", "--range", "4K+64K", "--hold", "0"];
    const { code, out, err } = await runInLab(...argv, "--json");
    expect(err).toBe("");
    expect(code).toBe(0);
    const [shared, released] = out
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(shared).toMatchObject({
      event: "shared",
      backend: "native",
      provider,
      client,
      bar: 2,
      dmaBuf: { size: "0x10000", pid: process.pid },
      recovered: [],
    });
    expect(released).toMatchObject({ event: "released", ok: true, leftovers: [] });
    nothingLeft();
  });

  it.each(["SIGINT", "SIGTERM"] as const)(
    "%s while it is held releases in order",
    async (signal) => {
      let bound: readonly (string | undefined)[] = [];
      const { code, out } = await runIn(
        (text) => {
          if (!text.includes('"shared"')) return;
          bound = [provider, client].map(driverOf);
          setImmediate(() => process.emit(signal, signal));
        },
        ["share", provider, client, "--bar", "2", "--json"],
      );
      expect(bound).toEqual(["vfio-pci", "vfio-pci"]);
      expect(out).toContain(`"ended":"${signal}"`);
      expect(code).toBe(0);
      nothingLeft();
    },
  );

  it("after kill -9 the next run puts both functions back first, and says so", async () => {
    const argv = ["share", provider, client, "--bar", "2", "--json"];
    const child = await startTool('"shared"', argv);
    child.kill("SIGKILL");
    if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
    expect([provider, client].map(driverOf)).toEqual(["vfio-pci", "vfio-pci"]);
    for (const address of [provider, client])
      expect(existsSync(`/run/peerbar/${address}.json`)).toBe(true);
    const { code, out } = await runInLab(...argv, "--hold", "0");
    const { recovered } = JSON.parse(out.split("\n", 1)[0] ?? "") as { recovered: string[] };
    expect(recovered).toEqual([provider, client].map((a) => `${a}: restored (driver none)`));
    expect(code).toBe(0);
    nothingLeft();
  });

  it.each([
    [["--bar", "2", "--range", "0+1T"], /EINVAL: VFIO_DEVICE_FEATURE: .*ends past BAR 2/],
    [["--bar", "2", "--range", "1+4K"], /EINVAL: VFIO_DEVICE_FEATURE: .*whole pages/],
    [["--bar", "4"], /ENODEV: share: .*no memory BAR 4/],
  ])("bad input %s leaves nothing behind, exit 2", async (argv, message) => {
    const { code, err } = await runInLab("share", provider, client, ...argv);
    expect(err).toMatch(message);
    expect(code).toBe(2);
    nothingLeft();
  });
});
