import {
  MemoryBuffer,
  MemoryEngine,
  MemoryExporter,
  type MemoryExporterOptions,
  PhysicalMemory,
  SimpleImport,
  type SimpleImportMode,
} from "@peerbar/conformance/reference";
import {
  type Attachment,
  type DeviceFence,
  type DmaAddr,
  type DmaBuf,
  type DmaCompletion,
  type DmaDevice,
  type DmaEngine,
  FenceContext,
  type Held,
  isDmaBufError,
  Lock,
  type PhysRange,
} from "@peerbar/core";
import {
  explore,
  type Flag,
  type Scenario,
  type Stage,
  scenario,
} from "../../src/explore/index.js";
import type { DeviceExporter } from "../fixtures/device-exporter.js";
import type { Trial } from "./entry.js";
import { type ImportClass, ImporterOf } from "./mutants-importer.js";

const SIZE = 0x1000n;
const whole = { offset: 0n, length: SIZE };
const MASK = (1n << 64n) - 1n;
const RUNS = 200_000;

type BufferClass = new (...args: ConstructorParameters<typeof MemoryBuffer>) => MemoryBuffer;

/** Who takes part in the race; the right ones where nothing is said. */
export interface Cast {
  readonly exporter?: new (options: MemoryExporterOptions) => MemoryExporter;
  readonly buffer?: BufferClass;
  readonly imported?: ImportClass;
  readonly mode?: SimpleImportMode;
  readonly scene?: Scene;
  /** How often the device is reset; once where nothing is said. */
  readonly resets?: number;
}

/** A DMA engine that takes a while, and says so where its bytes arrive after the memory was given to somebody else. */
class WatchedEngine implements DmaEngine {
  readonly #inner: MemoryEngine;
  readonly #stage: Stage;
  readonly #reused: () => boolean;

  constructor(memory: PhysicalMemory, stage: Stage, reused: () => boolean) {
    this.#inner = new MemoryEngine(memory);
    this.#stage = stage;
    this.#reused = reused;
  }

  async write(address: DmaAddr, bytes: Uint8Array): Promise<DmaCompletion> {
    await this.#stage.pause("on the wires");
    this.#stage.touch("memory", true);
    if (this.#reused()) this.#stage.fail("DMA into memory after its revoke was done");
    return this.#inner.write(address, bytes);
  }

  read(address: DmaAddr, into: Uint8Array): Promise<DmaCompletion> {
    return this.#inner.read(address, into);
  }
}

/** The exporter that the cast asks for. */
function makeExporter(cast: Cast, stage: Stage, memory: PhysicalMemory): MemoryExporter {
  const options = { memory, scheduler: stage.scheduler };
  if (cast.exporter !== undefined) return new cast.exporter(options);
  const { buffer: make = MemoryBuffer } = cast;
  return new (class extends MemoryExporter {
    protected override makeBuffer(ranges: readonly PhysRange[]): MemoryBuffer {
      return new make(this, ranges, this.forgetBuffer);
    }
  })(options);
}

/** Memory that was taken back is in somebody else's hands until it is restored. */
async function reset(
  exporter: MemoryExporter,
  stage: Stage,
  memory: { reused: boolean },
): Promise<void> {
  await exporter.revoke();
  stage.touch("memory", true);
  memory.reused = true;
  await stage.pause("the device is being reset");
  stage.touch("memory", true);
  memory.reused = false;
  await exporter.restore();
}

/** What the importer does with the buffer, all of it right. */
type Scene =
  /** Writes with the reservation held, leaves. */
  | "writes-locked"
  /** Writes without the lock; the exporter gets a BOOKKEEP fence for it. */
  | "fences-its-dma"
  /** Writes without the lock, and unmaps when its DMA is done, which may be after it was told. */
  | "unmaps-late"
  /** Keeps its mapping until it is told to let go. */
  | "stays-until-told";

/** Imports, works, leaves. A revoke may refuse any of it; nothing else may. */
async function work(
  importer: ImporterOf,
  buffer: DmaBuf,
  scene: Scene,
  stage: Stage,
): Promise<void> {
  try {
    const imported = await importer.import(buffer, whole);
    try {
      if (scene === "stays-until-told") await toldOf(imported, stage).wait();
      else await imported.write(0n, Uint8Array.of(1));
    } finally {
      await imported.close();
    }
  } catch (error) {
    if (!isDmaBufError(error) || error.code !== "ENODEV") throw error;
  }
}

const told = new WeakMap<SimpleImport, Flag>();

function toldOf(imported: SimpleImport, stage: Stage): Flag {
  const flag = told.get(imported) ?? stage.flag("told");
  told.set(imported, flag);
  return flag;
}

/** The import as the scene has it: DMA outside the lock, late unmaps, and who was told. */
function inScene(make: ImportClass, scene: Scene, stage: Stage): ImportClass {
  const fences = new FenceContext(0x7300, "dma", stage.scheduler);
  return class extends make {
    #inFlight = false;

    override invalidateMappings(attachment: Attachment, held: Held): void {
      if (this.#inFlight && scene === "unmaps-late") return;
      const wasMapped = this.table !== undefined;
      super.invalidateMappings(attachment, held);
      if (wasMapped && this.table === undefined) toldOf(this, stage).set();
    }

    override async write(offset: bigint, bytes: Uint8Array): Promise<boolean> {
      if (scene === "writes-locked") return super.write(offset, bytes);
      const held = await this.buffer.reservation.lock();
      let fence: DeviceFence | undefined;
      try {
        await this.mapHeld(held);
        this.#inFlight = true;
        if (scene === "fences-its-dma") {
          fence = fences.next();
          this.buffer.reservation.reserveFences(held, 1);
          this.buffer.reservation.addFence(held, fence, "bookkeep");
        }
      } finally {
        held.release();
      }
      const { table } = this;
      if (table === undefined) return false;
      const done = await this.importer.device.engine?.write(table.locate(offset).address, bytes);
      fence?.signal();
      this.#inFlight = false;
      return done?.status === "ok";
    }
  };
}

/** One exporter, one importer that comes and goes, one or more resets: nothing in it knows of any defect. */
function resetRace(name: string, cast: Cast): Scenario {
  const { scene = "writes-locked", resets = 1, mode = "dynamic", imported = SimpleImport } = cast;
  return scenario(name, (stage) => {
    const memory = new PhysicalMemory();
    const state = { reused: false };
    const exporter = makeExporter(cast, stage, memory);
    const buffer = stage.sanitizer.buffer(exporter.export(SIZE));
    const engine = new WatchedEngine(memory, stage, () => state.reused);
    const address = "0000:01:00.0";
    const device: DmaDevice = { name: "nic", pciAddress: address, dmaMask: MASK, engine };
    const importer = new ImporterOf(device, mode, inScene(imported, scene, stage));
    stage.actor("importer", () => work(importer, buffer, scene, stage));
    stage.actor("reset", async () => {
      // Who stays until told would not be told of a reset that is over.
      if (scene === "stays-until-told") await exporter.revoke();
      else for (let i = 0; i < resets; i++) await reset(exporter, stage, state);
    });
    stage.check(() => {
      const left = [...buffer.attachments].length;
      if (left > 0) throw new Error(`${String(left)} attachments are left`);
      if (buffer.references > 1)
        throw new Error(`${String(buffer.references)} references are left`);
    });
  });
}

/** The explorer on a race, wrong and right. */
export function exploredRace(names: string, cast: Cast): Trial {
  const { scene, resets, mode } = cast;
  const right: Cast = {
    ...(scene === undefined ? {} : { scene }),
    ...(resets === undefined ? {} : { resets }),
    ...(mode === undefined ? {} : { mode }),
  };
  return exploring(
    names,
    () => resetRace("mutant", cast),
    () => resetRace("right", right),
  );
}

/** A device that closes while an importer comes. */
export function closeRace(name: string, make: typeof DeviceExporter): Scenario {
  return scenario(name, (stage) => {
    const memory = new PhysicalMemory();
    const exporter = new make({ memory, scheduler: stage.scheduler });
    const buffer = stage.sanitizer.buffer(exporter.export(SIZE));
    const engine = new WatchedEngine(memory, stage, () => !exporter.enabled);
    const address = "0000:01:00.0";
    const device: DmaDevice = { name: "nic", pciAddress: address, dmaMask: MASK, engine };
    const importer = new ImporterOf(device, "dynamic", SimpleImport);
    stage.actor("importer", async () => {
      await stage.pause("before the import");
      await work(importer, buffer, "writes-locked", stage);
    });
    stage.actor("close", () => exporter.close());
  });
}

/** B31: what maps takes its own lock first, what faults takes the reservation first; or both in one order. */
export function lockRace(name: string, inverted: boolean): Scenario {
  return scenario(name, (stage) => {
    const memory = new PhysicalMemory();
    const exporter = new MemoryExporter({ memory, scheduler: stage.scheduler });
    const buffer = exporter.export(SIZE);
    const pages = new Lock("pages.mutex", stage.scheduler);
    const reservationFirst = async (): Promise<void> => {
      const held = await buffer.reservation.lock();
      const inner = await pages.lock();
      inner.release();
      held.release();
    };
    const pagesFirst = async (): Promise<void> => {
      const inner = await pages.lock();
      const held = await buffer.reservation.lock();
      held.release();
      inner.release();
    };
    stage.actor("map", inverted ? pagesFirst : reservationFirst);
    stage.actor("revoke", reservationFirst);
  });
}

/** The explorer on two scenarios. */
export function exploring(names: string, mutant: () => Scenario, right: () => Scenario): Trial {
  const run = (make: () => Scenario, must: boolean) => async (): Promise<readonly string[]> => {
    const found = await explore(make(), { runs: RUNS, maxFailures: must ? 1 : 4 });
    const failures = found.failures.map(
      ({ kind, message, schedule }) => `${kind}: ${message} (schedule ${schedule || "default"})`,
    );
    if (must && failures.length === 0 && !found.exhausted) return ["not every order was run"];
    return failures;
  };
  return {
    check: "explorer",
    names,
    mutant: run(mutant, false),
    right: run(right, true),
    bound: "every order of one importer and one reset",
  };
}
