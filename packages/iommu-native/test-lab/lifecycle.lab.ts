import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type * as Esbuild from "esbuild";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { NativeHost } from "../src/index.js";
import { driverOf, first, labDevices, nothingOpen } from "./machine.js";

/** From where it is installed: the lab puts the rest into one file. */
const { build } = createRequire(import.meta.url)("esbuild") as typeof Esbuild;

const devices = labDevices();
/** A controller that has a driver, where the machine has one (`--machine cmb`); else memory that nobody drives. */
const address = first([...devices.nvme, ...devices.memory], "device with a memory BAR 2");
const driver = driverOf(address);
const linux = join(import.meta.dirname, "../../linux/src/library.ts");
const folder = mkdtempSync(join(tmpdir(), "peerbar-hold-"));
const program = join(folder, "hold.mjs");
const said = join(folder, "said");
const BUFINFO = "/sys/kernel/debug/dma_buf/bufinfo";

beforeAll(async () => {
  await build({
    entryPoints: [join(import.meta.dirname, "hold.ts")],
    outfile: program,
    bundle: true,
    platform: "node",
    format: "esm",
    conditions: ["@peerbar/source"],
    external: ["koffi"],
    // koffi is installed beside the room that loads it. The name in parts: the lab puts addresses in place of the whole.
    define: { [["import.meta", "url"].join(".")]: JSON.stringify(`file://${linux}`) },
    logLevel: "error",
  });
});

afterAll(() => {
  rmSync(folder, { recursive: true });
});

/** Starts the program and waits until it holds the device. */
async function holding(how: string): Promise<ChildProcess> {
  rmSync(said, { force: true });
  const child = spawn(process.execPath, [program, address, said, how], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  while (!existsSync(said)) {
    if (child.exitCode !== null) throw new Error(`it ended with ${String(child.exitCode)}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return child;
}

function ended(child: ChildProcess): Promise<string> {
  if (child.exitCode !== null || child.signalCode !== null) {
    return Promise.resolve(String(child.signalCode ?? child.exitCode));
  }
  return new Promise((resolve) => {
    child.once("exit", (code, signal) => {
      resolve(String(signal ?? code));
    });
  });
}

/** Live dma-bufs, as the kernel lists them. */
function buffers(): string {
  return /Total (\d+) objects/.exec(readFileSync(BUFINFO, "utf8"))?.[1] ?? "?";
}

const journal = (): readonly string[] =>
  existsSync("/run/peerbar") ? readdirSync("/run/peerbar") : [];

describe("a device goes back to its driver, whatever ends the program", () => {
  it.each([
    ["SIGINT", "SIGINT"],
    ["SIGTERM", "SIGTERM"],
    ["exit", "7"],
    ["throw", "1"],
  ])("%s", async (how, expected) => {
    const child = await holding(how);
    if (how.startsWith("SIG")) child.kill(how as NodeJS.Signals);
    expect(await ended(child)).toBe(expected);
    expect(driverOf(address)).toBe(driver);
    expect(journal()).toEqual([]);
    expect(buffers()).toBe("0");
  });

  it("SIGKILL in the middle: the next run puts it back, and can take it again", async () => {
    const child = await holding("wait");
    expect(driverOf(address)).toBe("vfio-pci");
    expect(journal()).toEqual([`${address}.json`]);
    child.kill("SIGKILL");
    expect(await ended(child)).toBe("SIGKILL");
    // The kernel closed its files; the binding is what is left.
    expect(buffers()).toBe("0");
    expect(driverOf(address)).toBe("vfio-pci");

    const next = await holding("SIGTERM");
    expect(readFileSync(said, "utf8")).toContain(`[${address} restored]`);
    next.kill("SIGTERM");
    await ended(next);
    expect(driverOf(address)).toBe(driver);
    expect(journal()).toEqual([]);
  });

  it("a second process is told who has the device, and leaves it alone", async () => {
    const child = await holding("wait");
    const host = new NativeHost();
    expect(host.recovered).toMatchObject([{ what: address, outcome: "in-use" }]);
    // Bound to vfio-pci already, and open elsewhere.
    await expect(host.open(address)).rejects.toMatchObject({ code: "EBUSY" });
    await host.close();
    expect(driverOf(address)).toBe("vfio-pci");
    child.kill("SIGTERM");
    await ended(child);
    expect(driverOf(address)).toBe(driver);
    await nothingOpen();
  });

  it("an override and a driver that were there before come back", async () => {
    const override = `/sys/bus/pci/devices/${address}/driver_override`;
    writeFileSync(override, "pcieport\n");
    const host = new NativeHost();
    const device = await host.open(address);
    expect(driverOf(address)).toBe("vfio-pci");
    await device.close();
    expect(readFileSync(override, "utf8").trim()).toBe("pcieport");
    expect(driverOf(address)).toBe(driver);
    await host.close();
    writeFileSync(override, "\n");
    await nothingOpen();
  });
});
