import { Sanitizer } from "@peerbar/conformance";
import type { DmaBufEvent, Slice } from "@peerbar/core";
import { expect } from "vitest";
import { type Exported, exportBar } from "../src/exporters.js";
import { makeServer, type Server, type ServerSetup } from "../src/server.js";

/** A server with an exported BAR, a sanitizer that watches, and the baseline to come back to. */
export interface Stage {
  readonly server: Server;
  readonly sanitizer: Sanitizer;
  readonly exported: Exported;
  /** Mappings made, in order. */
  readonly maps: readonly Extract<DmaBufEvent, { type: "map" }>[];
  /** Closes the exporter and expects that nothing is left anywhere. */
  end(): Promise<void>;
}

export async function makeStage(
  setup: ServerSetup,
  ranges: readonly Slice[],
  iovaStrategy: "mapping" | "attachment" = "mapping",
): Promise<Stage> {
  const server = makeServer(setup);
  const before = server.backend.usage();
  const maps: Extract<DmaBufEvent, { type: "map" }>[] = [];
  const sanitizer = new Sanitizer({ historyLength: 64 });
  const exported = await exportBar(server, ranges, iovaStrategy, {
    emit: (event) => {
      if (event.type === "map") maps.push(event);
    },
  });
  const { buffer } = exported;
  sanitizer.buffer(buffer);
  const end = async (): Promise<void> => {
    expect([...buffer.attachments]).toEqual([]);
    expect(buffer.references).toBe(1);
    expect(await exported.close()).toBe(0);
    expect(buffer.released).toBe(true);
    expect(server.backend.usage()).toBe(before);
    expect(sanitizer.finish()).toEqual([]);
  };
  return { server, sanitizer, exported, maps, end };
}

/** Bytes without a period that a page or a range has. */
export function pattern(length: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) bytes[i] = i * 31 + (i >> 8) * 17 + (i >> 16) * 7 + seed;
  return bytes;
}

/** Vitest compares typed arrays element by element, slowly. */
export function isSame(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}
