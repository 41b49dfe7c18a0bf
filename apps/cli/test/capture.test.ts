import { execFileSync } from "node:child_process";
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { file, realMachines, scratch, shell, shipped } from "./fixtures.js";
import { runCli } from "./run.js";

/** Containers often refuse device nodes to root, and all machines to everybody else. */
function mayMakeNodes(): boolean {
  const node = join(scratch(), "null");
  try {
    execFileSync("mknod", [node, "c", "1", "3"], { stdio: "ignore" });
    writeFileSync(node, "x");
    return true;
  } catch {
    return false;
  }
}

describe("capture", () => {
  test("the same input gives the same bytes, and a capture of a capture is itself", async () => {
    const first = await runCli("capture", "-F", shipped);
    expect(first).toEqual({ code: 0, out: readFileSync(shipped, "utf8"), err: "" });
    const path = file("again.json", first.out);
    expect((await runCli("capture", "-F", path)).out).toBe(first.out);
  });

  test("-o writes the same, leaves nothing beside it and replaces a file that is there", async () => {
    const directory = scratch();
    const path = join(directory, "server.json");
    writeFileSync(path, "old");
    const { code, out } = await runCli("capture", "-F", shipped, "-o", path);
    expect([code, out]).toEqual([0, ""]);
    expect(readFileSync(path, "utf8")).toBe(readFileSync(shipped, "utf8"));
    expect(readdirSync(directory)).toEqual(["server.json"]);
  });

  test("-o writes through a symbolic link, which stays, and keeps the permissions of a file", async () => {
    const directory = scratch();
    const [link, target] = [join(directory, "link.json"), join(directory, "target.json")];
    symlinkSync("target.json", link);
    // The first run finds a link to nothing, the second a link to a file.
    for (const mode of [undefined, 0o640]) {
      if (mode !== undefined) chmodSync(target, mode);
      expect((await runCli("capture", "-F", shipped, "-o", link)).code).toBe(0);
      expect(readlinkSync(link)).toBe("target.json");
      expect(readFileSync(target, "utf8")).toBe(readFileSync(shipped, "utf8"));
      if (mode !== undefined) expect(statSync(target).mode & 0o777).toBe(mode);
    }
    expect(readdirSync(directory)).toEqual(["link.json", "target.json"]);
  });

  test("-o writes into a FIFO and leaves it one", async () => {
    const directory = scratch();
    const fifo = join(directory, "fifo");
    shell(`mkfifo '${fifo}'`);
    const read = readFile(fifo, "utf8");
    expect((await runCli("capture", "-F", shipped, "-o", fifo)).code).toBe(0);
    expect(lstatSync(fifo).isFIFO()).toBe(true);
    expect(await read).toBe(readFileSync(shipped, "utf8"));
    expect(readdirSync(directory)).toEqual(["fifo"]);
  });

  test.skipIf(!mayMakeNodes())(
    "-o writes to a device node and leaves it one; a device that is full says so in one line",
    async () => {
      const directory = scratch();
      const [nothing, full] = [join(directory, "null"), join(directory, "full")];
      execFileSync("mknod", [nothing, "c", "1", "3"]);
      execFileSync("mknod", [full, "c", "1", "7"]);
      expect((await runCli("capture", "-F", shipped, "-o", nothing)).code).toBe(0);
      expect(await runCli("capture", "-F", shipped, "-o", full)).toMatchObject({
        code: 2,
        err: expect.stringMatching(/^peerbar: ENOSPC: write: [^\n]+; [^\n]+\n$/) as string,
      });
      for (const node of [nothing, full]) expect(lstatSync(node).isCharacterDevice()).toBe(true);
      expect(readdirSync(directory)).toEqual(["full", "null"]);
    },
  );

  test("where it cannot write it says why in one line, exit 2 or 3, and leaves what is there", async () => {
    const directory = scratch();
    mkdirSync(join(directory, "taken"));
    for (const [target, errno] of [
      [join(directory, "no/such/place.json"), "ENOENT"],
      [join(directory, "taken"), "EINVAL"],
      [join(directory, "x".repeat(300)), "EINVAL"],
    ] as const) {
      const { code, err } = await runCli("capture", "-F", shipped, "-o", target);
      expect(code).toBe(2);
      expect(err).toMatch(new RegExp(`^peerbar: ${errno}: write: [^\\n]+; [^\\n]+\\n$`));
    }
    expect(readdirSync(directory)).toEqual(["taken"]);
    chmodSync(directory, 0o755);
  });

  test("answers of a capture are the answers of what it was made from", async () => {
    const dump = file(
      "dump.txt",
      [
        "0000:00:00.0 Host bridge [0600]: Intel Corporation Device [8086:2020]",
        "0000:00:01.0 PCI bridge [0604]: Intel Corporation Device [8086:2030]",
        "\tBus: primary=00, secondary=01, subordinate=01, sec-latency=0",
        "\tCapabilities: [90] Express (v2) Root Port (Slot-), MSI 00",
        "\tCapabilities: [110 v1] Access Control Services",
        "\t\tACSCap:\tSrcValid+ TransBlk+ ReqRedir+ CmpltRedir+ UpstreamFwd+ EgressCtrl- DirectTrans-",
        "\t\tACSCtl:\tSrcValid+ TransBlk- ReqRedir+ CmpltRedir+ UpstreamFwd+ EgressCtrl- DirectTrans-",
        "0000:01:00.0 3D controller [0302]: NVIDIA Corporation Device [10de:2330]",
        "\tCapabilities: [100 v1] Device Serial Number 00-11-22-ff-fe-33-44-55",
        "0000:01:00.1 Ethernet controller [0200]: Mellanox Technologies Device [15b3:1021]",
      ].join("\n"),
    );
    const taken = await runCli("capture", "-F", dump);
    expect(taken.out).not.toMatch(/00-11-22|33-44-55|[Ss]erial/);
    const again = file("taken.json", taken.out);
    const pairs = async (path: string): Promise<unknown> =>
      (JSON.parse((await runCli("matrix", "--json", "-F", path)).out) as { pairs: unknown }).pairs;
    expect(await pairs(again)).toEqual(await pairs(dump));
  });

  const machines = realMachines();
  test.skipIf(machines.length === 0)(
    "real machines: no serial number, and the same answers",
    { timeout: 120_000 },
    async () => {
      for (const { path } of machines) {
        const { out } = await runCli("capture", "-F", path);
        expect(out).not.toMatch(/Serial Number|(?:[0-9a-f]{2}-){7}[0-9a-f]{2}/);
        const again = file("taken.json", out);
        const table = async (from: string): Promise<string> =>
          (await runCli("matrix", "-F", from, "--cpu", "intel")).out.replace(/^.*\n/, "");
        expect(await table(again)).toBe(await table(path));
      }
    },
  );
});
