import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import { generateServer, type ServerOptions, toCapture } from "@peerbar/p2pdma";
import { topologies } from "@peerbar/vitest-config/topologies";

/** The capture that ships with `@peerbar/p2pdma`. */
export const shipped = fileURLToPath(
  import.meta.resolve("@peerbar/p2pdma/captures/gpu-server-2s.json"),
);

/** A new directory for one test. */
export function scratch(): string {
  return mkdtempSync(join(tmpdir(), "peerbar-"));
}

/** A file with a content; its path. */
export function file(name: string, content: string | Uint8Array): string {
  const path = join(scratch(), name);
  writeFileSync(path, content);
  return path;
}

/** A generated server as a capture file; its path. */
export function server(options: ServerOptions): string {
  return file("server.json", toCapture(generateServer(options)));
}

/** Captures of real machines with the answers of an independent computation; empty where they are not at hand. */
export function realMachines(): readonly { readonly name: string; readonly path: string }[] {
  if (!existsSync(join(topologies, "expected"))) return [];
  return readdirSync(topologies)
    .filter((name) => /\.(?:txt|tar\.gz)$/.test(name))
    .map((name) => ({ name, path: join(topologies, name) }));
}

export interface ExpectedPair {
  readonly provider: string;
  readonly client: string;
  readonly mapType: string;
  readonly distance: number;
  readonly acs: readonly string[];
  readonly acsUnknown?: readonly string[];
  readonly hostBridgeUnknown?: true;
}

/** What the independent computation says of a machine. */
export function expectedPairs(name: string, cpu: string): readonly ExpectedPair[] {
  const stem = join(topologies, "expected", `${name.replace(/\.txt$|\.tar\.gz$/, "")}.${cpu}.json`);
  const text = existsSync(stem)
    ? readFileSync(stem, "utf8")
    : gunzipSync(readFileSync(`${stem}.gz`)).toString("utf8");
  return JSON.parse(text) as ExpectedPair[];
}

/** The built tool, where it is built. */
export const bin = fileURLToPath(new URL("../bin/peerbar.js", import.meta.url));
export const isBuilt = existsSync(fileURLToPath(new URL("../dist/main.js", import.meta.url)));

/** Runs a line of shell. */
export function shell(line: string): string {
  return execFileSync("bash", ["-c", line], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
  });
}
