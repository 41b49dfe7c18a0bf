import { Sanitizer } from "@peerbar/conformance";
import { type DmaBufErrorCode, type EventSink, isDmaBufError, PAGE_SIZE } from "@peerbar/core";
import { type BackendName, backendNames } from "./backends.js";
import {
  type Exported,
  type ExporterName,
  exporterNames,
  isPeer,
  makeExported,
  SHARED_BYTES,
} from "./exporters.js";
import { type Imported, type ImporterName, importBuffer, importerNames } from "./importers.js";
import { makeServer, type Route, routes, type Server } from "./server.js";

/** One meeting of an exporter, an importer and a backend. */
export interface Combination {
  readonly exporter: ExporterName;
  readonly importer: ImporterName;
  readonly backend: BackendName;
  /** Undefined where the memory is not behind a peer. */
  readonly route: Route | undefined;
}

/** How it ended: as it ran, nothing is looked up. */
export type Outcome =
  | {
      readonly kind: "works";
      /** What the exporter handed over: DMA addresses of which space, or physical ranges. */
      readonly via: "bus" | "iova" | "phys";
      /** After a revoke and a restore: whether the same import works again, or only a new one. */
      readonly recovery: "by itself" | "import anew";
    }
  | {
      readonly kind: "refused";
      readonly errno: DmaBufErrorCode;
      readonly rule: string | undefined;
      readonly reason: string;
    };

/** Every combination that exists. */
export function allCombinations(): Combination[] {
  return exporterNames.flatMap((exporter) =>
    importerNames.flatMap((importer) =>
      (isPeer(exporter) ? routes : [undefined]).flatMap((route) =>
        backendNames.map((backend) => ({ exporter, importer, backend, route })),
      ),
    ),
  );
}

/**
 * Puts the combination together on a simulated server and takes it through its life: bytes both ways, revoke, restore, end.
 *
 * @throws Error where it neither works nor is refused with an errno: a wrong byte, a leak, a defect found by the sanitizer.
 */
export async function runCombination(combination: Combination): Promise<Outcome> {
  const { backend, route } = combination;
  const server = makeServer({ backend, route: route ?? "bus-addr" });
  const sanitizer = new Sanitizer();
  const before = server.backend.usage();
  const seen = new Spaces();
  const exported = await makeExported(combination.exporter, server, seen);
  sanitizer.buffer(exported.buffer);
  const outcome = await live(combination, { server, sanitizer, exported, seen });
  const { buffer } = exported;
  expectThat([...buffer.attachments].length === 0, "an attachment is left");
  expectThat(buffer.references === 1, `${String(buffer.references)} references are left`);
  expectThat((await exported.close()) === 0, "the exporter still holds something");
  expectThat(buffer.released, "the buffer was not released");
  const after = server.backend.usage();
  expectThat(after === before, `the IOMMU had ${before} in use, now ${after}`);
  const defects = sanitizer.finish();
  expectThat(defects.length === 0, defects.map(({ message }) => message).join("; "));
  return outcome;
}

interface Scene {
  readonly server: Server;
  readonly sanitizer: Sanitizer;
  readonly exported: Exported;
  readonly seen: Spaces;
}

async function live({ importer }: Combination, scene: Scene): Promise<Outcome> {
  const { server, sanitizer, exported, seen } = scene;
  const device = sanitizer.device(server.nic);
  const open = (): Promise<Imported> =>
    importBuffer(importer, exported.buffer, device, server.backend.iommu);
  let imported: Imported;
  try {
    imported = await open();
  } catch (error) {
    if (!isDmaBufError(error)) throw error;
    const { code, rule, reason } = error;
    return { kind: "refused", errno: code, rule, reason: withoutNames(reason, server) };
  }
  await moveBothWays(imported, scene, 1);
  await exported.revoke();
  await expectDead(imported, scene);
  await exported.restore();
  const again = await imported.write(pattern(2));
  if (again) await moveBothWays(imported, scene, 3);
  await imported.close();
  if (!again) {
    const fresh = await open();
    await moveBothWays(fresh, scene, 4);
    await fresh.close();
  }
  return { kind: "works", via: seen.via, recovery: again ? "by itself" : "import anew" };
}

async function moveBothWays(imported: Imported, scene: Scene, seed: number): Promise<void> {
  const { exported, server } = scene;
  server.machine.clean();
  const out = pattern(seed);
  expectThat(await imported.write(out), "the importer could not write");
  expectThat(Buffer.compare(exported.peek(), out) === 0, "bytes written are in the wrong place");
  const { inside, outside } = exported.written();
  expectThat(outside.length === 0, `written outside the ranges: ${outside.join("; ")}`);
  expectThat(inside === SHARED_BYTES / PAGE_SIZE, "not every page was written");
  const back = pattern(seed + 100);
  exported.poke(back);
  const into = new Uint8Array(SHARED_BYTES);
  expectThat(await imported.read(into), "the importer could not read");
  expectThat(Buffer.compare(into, back) === 0, "bytes read are from the wrong place");
}

/** After a revoke not one byte moves, either way. */
async function expectDead(imported: Imported, { exported }: Scene): Promise<void> {
  const before = exported.peek();
  const into = new Uint8Array(SHARED_BYTES);
  expectThat(!(await imported.write(pattern(200))), "a write after the revoke went through");
  expectThat(!(await imported.read(into)), "a read after the revoke went through");
  const { inside, outside } = exported.written();
  expectThat(inside + outside.length === 0, "a page was written after the revoke");
  expectThat(Buffer.compare(exported.peek(), before) === 0, "bytes changed after the revoke");
  expectThat(
    into.every((byte) => byte === 0),
    "bytes were read after the revoke",
  );
}

/** What the exporter handed over: physical ranges where it mapped nothing. */
class Spaces implements EventSink {
  via: "bus" | "iova" | "phys" = "phys";

  emit(event: Parameters<EventSink["emit"]>[0]): void {
    if (event.type === "map") this.via = event.space;
  }
}

/** Bytes without a period that a page or a range has. */
function pattern(seed: number): Uint8Array {
  const bytes = new Uint8Array(SHARED_BYTES);
  for (let i = 0; i < bytes.length; i++) bytes[i] = i * 31 + (i >> 8) * 17 + (i >> 16) * 7 + seed;
  return bytes;
}

/** A reason for the table: which pair of the server it was is of no interest there. */
function withoutNames(reason: string, { gpu, nic }: Server): string {
  return reason.replaceAll(gpu.name, "the GPU").replaceAll(nic.name, "the NIC");
}

function expectThat(condition: boolean, what: string): void {
  if (!condition) throw new Error(what);
}
