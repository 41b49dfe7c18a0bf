import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { basename } from "node:path";
import { openFds } from "@peerbar/linux";
import { expect } from "vitest";
import { processIo, run } from "../src/main.js";

const DEVICES = "/sys/bus/pci/devices";
const JOURNAL = "/run/peerbar";

/** PCI addresses of the lab's functions of one kind, in bus order. */
export function functionsOf(vendor: string, device: string): readonly string[] {
  if (process.env.PEERBAR_LAB !== "1")
    throw new Error("runs inside the kernel lab alone: pnpm lab apps/cli/test-lab/share.lab.ts");
  const attribute = (address: string, name: string): string =>
    readFileSync(`${DEVICES}/${address}/${name}`, "utf8").trim();
  return readdirSync(DEVICES)
    .sort()
    .filter(
      (address) =>
        attribute(address, "vendor") === vendor && attribute(address, "device") === device,
    );
}

/** ivshmem, whose BAR 2 is memory, and the DMA engine. */
export const memories = (): readonly string[] => functionsOf("0x1af4", "0x1110");
export const engines = (): readonly string[] => functionsOf("0x1234", "0x11e8");

/** The driver bound now, undefined where there is none. */
export function driverOf(address: string): string | undefined {
  const link = `${DEVICES}/${address}/driver`;
  return existsSync(link) ? basename(readlinkSync(link)) : undefined;
}

/** No descriptor, no journal, no binding. */
export function nothingLeft(): void {
  expect(openFds()).toEqual([]);
  expect(existsSync(JOURNAL) ? readdirSync(JOURNAL) : []).toEqual([]);
  for (const address of [...memories(), ...engines()])
    expect(`${address} ${driverOf(address) ?? "none"}`).toBe(`${address} none`);
}

/** Runs a command line of the tool in this process. `onOut` hears each piece of its output. */
export async function runIn(
  onOut: (text: string) => void,
  argv: readonly string[],
): Promise<{ readonly code: number; readonly out: string; readonly err: string }> {
  let out = "";
  let err = "";
  const code = await run(argv, {
    out: (text) => {
      out += text;
      onOut(text);
    },
    err: (text) => {
      err += text;
    },
    color: false,
    width: 100,
    env: {},
  });
  return { code, out, err };
}

export const runInLab = (...argv: string[]): ReturnType<typeof runIn> =>
  runIn(() => undefined, argv);

/** Names the command line of a process that {@link startTool} made. */
const COMMAND = "PEERBAR_LAB_COMMAND";

// The same bundle, started again: it is the tool then, and no test runs.
const command = process.env[COMMAND];
if (command !== undefined) process.exit(await run(JSON.parse(command) as string[], processIo()));

/** A process of its own for what ends by a kill: resolves once it has printed `marker`. */
export async function startTool(marker: string, argv: readonly string[]): Promise<ChildProcess> {
  const child = spawn(process.execPath, process.argv.slice(1, 2), {
    env: { ...process.env, [COMMAND]: JSON.stringify(argv) },
    stdio: ["ignore", "pipe", "inherit"],
  });
  let out = "";
  for await (const chunk of child.stdout) {
    out += String(chunk);
    if (out.includes(marker)) return child;
  }
  throw new Error(`the tool ended without ${marker}: ${out}`);
}
