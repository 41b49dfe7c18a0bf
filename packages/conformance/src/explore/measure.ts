import { type DmaBuf, type DmaDevice, isDmaBufError } from "@peerbar/core";
import { MemoryExporter } from "../reference/memory-exporter.js";
import { PhysicalMemory } from "../reference/physical-memory.js";
import { SimpleImporter } from "../reference/simple-importer.js";
import { explore } from "./explore.js";
import { type Scenario, scenario } from "./scenario.js";

/** How fast exploration is, next to the cheapest thing that lets others run. */
export interface Measured {
  /** Orders run. */
  readonly interleavings: number;
  /** Steps in all of them. */
  readonly steps: number;
  /** Milliseconds the interleavings took. */
  readonly exploringMs: number;
  /** Nanoseconds of one step: {@link exploringMs} shared out. */
  readonly nsPerStep: number;
  /** One `await Promise.resolve()` of the same process, right after. */
  readonly nsPerAwait: number;
  /** Orders run in a second of this process. */
  readonly interleavingsPerSecond: number;
  /** Awaits that one step costs: what to compare between machines. */
  readonly awaitsPerStep: number;
}

const AWAITS = 200_000;

/**
 * Explores one exporter, two importers and a reset in random orders, so that every interleaving is run to its end.
 *
 * @param now - a clock in milliseconds, `performance.now`: the model itself has none.
 */
export async function measureExplorer(interleavings: number, now: () => number): Promise<Measured> {
  const began = now();
  const { steps } = await explore(exporterAndTwoImporters, {
    strategy: "random",
    runs: interleavings,
    seed: 1,
  });
  const explored = now();
  for (let i = 0; i < AWAITS; i++) await Promise.resolve();
  const ended = now();
  const exploringMs = explored - began;
  const nsPerStep = (exploringMs * 1e6) / steps;
  const nsPerAwait = ((ended - explored) * 1e6) / AWAITS;
  return {
    interleavings,
    steps,
    exploringMs,
    nsPerStep,
    nsPerAwait,
    interleavingsPerSecond: (interleavings * 1000) / exploringMs,
    awaitsPerStep: nsPerStep / nsPerAwait,
  };
}

/**
 * The yardstick: the reference exporter and two reference importers, which import and leave, and a reset that revokes, drains and restores.
 * Right in every order.
 */
export const exporterAndTwoImporters: Scenario = scenario(
  "one exporter, two importers, a reset",
  (t) => {
    const exporter = new MemoryExporter({ memory: new PhysicalMemory(), scheduler: t.scheduler });
    const buffer = exporter.export(WHOLE.length);
    for (const device of [NIC, SSD]) {
      t.actor(device.name, () => importOnce(buffer, device));
    }
    t.actor("reset", async () => {
      await exporter.revoke();
      await exporter.restore();
    });
    t.check(() => {
      if (buffer.references !== 1) throw new Error(`${buffer.references} references are left`);
    });
  },
);

const WHOLE = { offset: 0n, length: 0x1000n };
const MASK = 2n ** 64n - 1n;
const NIC: DmaDevice = { name: "nic", pciAddress: "0000:01:00.0", dmaMask: MASK };
const SSD: DmaDevice = { name: "ssd", pciAddress: "0000:02:00.0", dmaMask: MASK };

async function importOnce(buffer: DmaBuf, device: DmaDevice): Promise<void> {
  try {
    const imported = await new SimpleImporter(device).import(buffer, WHOLE);
    await imported.close();
  } catch (error) {
    // The reset was faster.
    if (!isDmaBufError(error) || error.code !== "ENODEV") throw error;
  }
}
