import { execFileSync, spawn } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { pack } from "tar-stream";
import { afterAll, describe, expect, it } from "vitest";
import { cpuFromCpuinfo, liveTopology, readTopology } from "../src/node.js";
import { Config } from "./config-bytes.js";
import { generateServer, isDmaBufErrorLike, toCapture } from "./node-helpers.js";

const folder = mkdtempSync(join(tmpdir(), "p2pdma-"));
afterAll(() => {
  rmSync(folder, { recursive: true });
});

function file(name: string, content: string | Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

async function error(run: () => Promise<unknown>): Promise<Record<string, unknown>> {
  try {
    await run();
  } catch (cause) {
    if (isDmaBufErrorLike(cause)) return cause;
    throw cause;
  }
  throw new Error("nothing was thrown");
}

const config = new Config().header(0x8086, 0x09a2, 0x088000).express(9).bytes;

async function tar(prefix: string): Promise<Uint8Array> {
  const archive = pack();
  const path = `${prefix}devices/pci0000:00/0000:00:00.0`;
  archive.entry({ name: `${path}/config` }, Buffer.from(config));
  archive.entry({
    name: `${prefix}bus/pci/devices/0000:00:00.0`,
    type: "symlink",
    linkname: "../../../devices/pci0000:00/0000:00:00.0",
  });
  archive.finalize();
  const chunks: Uint8Array[] = [];
  for await (const chunk of archive) chunks.push(chunk);
  return Buffer.concat(chunks);
}

describe("readTopology", () => {
  const capture = toCapture(generateServer());

  it("reads a capture, plain and gzipped, whatever the name", async () => {
    expect((await readTopology(file("a.txt", capture))).functions).toHaveLength(
      (await readTopology(file("b", gzipSync(capture)))).functions.length,
    );
  });

  it.each(["sys/", "./sys/", "host1/capture/sys/", ""])(
    "reads a tar with the prefix %j",
    async (prefix) => {
      const bytes = await tar(prefix);
      const plain = await readTopology(file("t.tar", bytes));
      const zipped = await readTopology(file("t.tar.gz", gzipSync(bytes)));
      expect(plain.at("00:00.0")).toMatchObject({
        vendorId: 0x8086,
        portType: "rc-integrated-endpoint",
      });
      expect(zipped.functions).toEqual(plain.functions);
      expect(plain.hostBridges[0]).toMatchObject({ complete: true });
    },
  );

  it("a FIFO is read to its end, and no further than the limit", async () => {
    const path = join(folder, "fifo");
    execFileSync("sh", ["-c", `mkfifo '${path}'`]);
    const [read] = await Promise.all([readTopology(path), writeFile(path, capture)]);
    expect(read.functions.length).toBeGreaterThan(20);
    // A writer that never ends is left alone with its pipe.
    const endless = spawn("sh", ["-c", `exec cat /dev/zero >'${path}'`]);
    try {
      expect(await error(() => readTopology(path, { limit: 2 ** 20 }))).toMatchObject({
        code: "EFBIG",
        hint: expect.any(String) as string,
      });
    } finally {
      endless.kill();
    }
  });

  it("reads a directory that holds a /sys, or is one", async () => {
    const device = join(folder, "copy/sys/devices/pci0000:00/0000:00:00.0");
    mkdirSync(device, { recursive: true });
    mkdirSync(join(folder, "copy/sys/bus/pci/devices"), { recursive: true });
    writeFileSync(join(device, "config"), config);
    symlinkSync(
      "../../../devices/pci0000:00/0000:00:00.0",
      join(folder, "copy/sys/bus/pci/devices/0000:00:00.0"),
    );
    const outer = await readTopology(join(folder, "copy"));
    const inner = await readTopology(join(folder, "copy/sys"));
    expect(outer.functions).toEqual(inner.functions);
    expect(liveTopology(join(folder, "copy/sys")).functions).toEqual(inner.functions);
  });

  it("a missing file is ENOENT, an unreadable one EACCES", async () => {
    expect(await error(() => readTopology(join(folder, "none")))).toMatchObject({
      code: "ENOENT",
      errno: -2,
      hint: expect.any(String) as string,
    });
    const secret = file("secret", capture);
    chmodSync(secret, 0);
    if (process.getuid?.() === 0) {
      console.log("EACCES not tried: root reads every file");
      return;
    }
    expect(await error(() => readTopology(secret))).toMatchObject({ code: "EACCES" });
  });

  it("empty, binary and foreign files are EINVAL with a hint", async () => {
    for (const [name, content] of [
      ["empty", ""],
      ["binary", Uint8Array.from({ length: 64 }, (_, i) => i * 4)],
      ["words", "no devices here\n"],
    ] as const) {
      expect(await error(() => readTopology(file(name, content))), name).toMatchObject({
        code: "EINVAL",
        hint: expect.any(String) as string,
      });
    }
  });

  it("a directory or archive without devices is EINVAL", async () => {
    mkdirSync(join(folder, "nothing"));
    expect(await error(() => readTopology(join(folder, "nothing")))).toMatchObject({
      code: "EINVAL",
    });
    const archive = pack();
    archive.entry({ name: "readme" }, "hello");
    archive.finalize();
    const chunks: Uint8Array[] = [];
    for await (const chunk of archive) chunks.push(chunk);
    const failure = await error(() => readTopology(file("x.tar", Buffer.concat(chunks))));
    expect(failure).toMatchObject({ code: "EINVAL" });
    expect(failure.reason).toContain("no PCI devices in this archive");
  });

  it("a cut gzip or tar is EINVAL", async () => {
    const zipped = gzipSync(await tar("sys/"));
    const half = zipped.subarray(0, zipped.length >> 1);
    expect(await error(() => readTopology(file("half.tar.gz", half)))).toMatchObject({
      code: "EINVAL",
    });
    const cut = (await tar("sys/")).subarray(0, 1024);
    expect(await error(() => readTopology(file("cut.tar", cut)))).toMatchObject({ code: "EINVAL" });
  });

  it("refuses what is too large, packed or unpacked", async () => {
    expect(await error(() => readTopology(file("big", capture), { limit: 1000 }))).toMatchObject({
      code: "EFBIG",
    });
    const bomb = gzipSync(Buffer.alloc(1 << 20));
    expect(
      await error(() => readTopology(file("bomb.gz", bomb), { limit: 1 << 19 })),
    ).toMatchObject({ code: "EFBIG" });
  });
});

describe("liveTopology", () => {
  it("reads this machine, or says ENODEV where it has no PCI", async () => {
    let outcome: string;
    try {
      const topology = liveTopology();
      outcome = topology.functions.length > 0 ? "read" : "empty";
      expect(topology.source.format).toBe("sysfs");
    } catch (cause) {
      outcome = isDmaBufErrorLike(cause) && cause.code === "ENODEV" ? "ENODEV" : "other";
    }
    console.log(`live /sys: ${outcome}`);
    expect(["read", "ENODEV"]).toContain(outcome);
    const failure = await error(() =>
      Promise.resolve().then(() => liveTopology(join(folder, "gone"))),
    );
    expect(failure).toMatchObject({ code: "ENODEV", hint: expect.any(String) as string });
  });
});

describe("the CPU of /proc/cpuinfo (p2pdma R17)", () => {
  it.each([
    ["vendor_id\t: AuthenticAMD\ncpu family\t: 23\n", "amd-zen"],
    ["vendor_id\t: AuthenticAMD\ncpu family\t: 25\n", "amd-zen"],
    ["vendor_id\t: AuthenticAMD\ncpu family\t: 21\n", "amd-old"],
    ["vendor_id\t: GenuineIntel\ncpu family\t: 6\n", "intel"],
    ["vendor_id\t: HygonGenuine\ncpu family\t: 24\n", "hygon"],
    ["processor\t: 0\nCPU implementer\t: 0x41\n", "arm"],
    ["processor\t: 0\ncpu\t\t: POWER9, altivec supported\n", "power"],
    ["vendor_id\t: CentaurHauls\n", "other"],
    ["nothing\n", undefined],
  ])("%j is %s", (text, cpu) => {
    expect(cpuFromCpuinfo(text)?.cpu).toBe(cpu);
  });
});
