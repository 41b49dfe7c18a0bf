import {
  type BackendSubject,
  backendCases,
  type ConformanceCase,
  type ExporterSubject,
  exporterCases,
  type ImporterSubject,
  importerCases,
  runSuite,
  Sanitizer,
  type Subject,
} from "@peerbar/conformance";
import type { Trial } from "./entry.js";

const passes = new WeakMap<object, Promise<readonly string[]>>();

/** Cases that break the contract themselves, to see it refused: a sanitizer has to report those. */
const provoking = new Set([
  "unmap/foreign-table-refused",
  "map/without-the-lock-refused",
  "buffer/invalidate-needs-the-lock",
]);

/** The whole exporter suite: `id` must be among what fails, and nothing fails for the right one. */
export function exporterFails(id: string, mutant: ExporterSubject, right: ExporterSubject): Trial {
  return suiteTrial(id, exporterCases, mutant, right);
}

/** The whole importer suite. */
export function importerFails(id: string, mutant: ImporterSubject, right: ImporterSubject): Trial {
  return suiteTrial(id, importerCases, mutant, right);
}

/** The whole backend suite. */
export function backendFails(id: string, mutant: BackendSubject, right: BackendSubject): Trial {
  return suiteTrial(id, backendCases, mutant, right);
}

function suiteTrial<F, C extends string>(
  id: string,
  cases: readonly ConformanceCase<F, C>[],
  mutant: Subject<F, C>,
  right: Subject<F, C>,
): Trial {
  if (!cases.some((one) => one.id === id)) throw new TypeError(`no case is called ${id}`);
  return {
    check: "conformance",
    names: id,
    mutant: () => failures(cases, mutant),
    right: () => {
      const known = passes.get(right) ?? failures(cases, right);
      passes.set(right, known);
      return known;
    },
  };
}

async function failures<F, C extends string>(
  cases: readonly ConformanceCase<F, C>[],
  subject: Subject<F, C>,
): Promise<readonly string[]> {
  const report = await runSuite(cases, subject);
  return report.cases
    .filter(({ status }) => status === "failed")
    .map(({ id, detail }) => `${id}: ${detail}`);
}

/** The exporter suite with a sanitizer around buffers and devices: `defect` must be among its reports. */
export function exporterReported(
  defect: string,
  mutant: ExporterSubject,
  right: ExporterSubject,
): Trial {
  return {
    check: "sanitizer",
    names: defect,
    mutant: () => reports(mutant),
    right: () => reports(right),
    bound: "the exporter suite under the sanitizer",
  };
}

async function reports(subject: ExporterSubject): Promise<readonly string[]> {
  const found: string[] = [];
  for (const one of exporterCases) {
    if (provoking.has(one.id)) continue;
    const sanitizer = new Sanitizer();
    const setup = async () => {
      const fixture = await subject.setup();
      return {
        ...fixture,
        device: sanitizer.device(fixture.device),
        export: async (...sizes: bigint[]) => sanitizer.buffer(await fixture.export(...sizes)),
      };
    };
    const report = await runSuite([one], { ...subject, setup });
    // What a case that failed has left behind is no finding of its own.
    const ended = report.failed > 0 ? sanitizer.reports : sanitizer.finish();
    found.push(...ended.map(({ defect, message }) => `${defect}: ${message} (${one.id})`));
  }
  return found;
}

/** The importer suite with a sanitizer around every buffer that is imported. */
export function importerReported(
  defect: string,
  mutant: ImporterSubject,
  right: ImporterSubject,
): Trial {
  const run = (subject: ImporterSubject) => async (): Promise<readonly string[]> => {
    const found: string[] = [];
    for (const one of importerCases) {
      const sanitizer = new Sanitizer();
      const setup = async () => {
        const fixture = await subject.setup();
        const watched = new WeakSet();
        return {
          ...fixture,
          import: (...[buffer, slice]: Parameters<typeof fixture.import>) => {
            if (!watched.has(buffer)) sanitizer.buffer(buffer);
            watched.add(buffer);
            return fixture.import(buffer, slice);
          },
        };
      };
      await runSuite([one], { ...subject, setup });
      found.push(...sanitizer.reports.map((it) => `${it.defect}: ${it.message} (${one.id})`));
    }
    return found;
  };
  return {
    check: "sanitizer",
    names: defect,
    mutant: run(mutant),
    right: run(right),
    bound: "the importer suite under the sanitizer",
  };
}

/** Two answers to the same questions, one by one. */
export function differs<Q, A>(options: {
  readonly check: "differential" | "property" | "scenario";
  readonly names: string;
  readonly questions: () => Iterable<Q>;
  readonly bound: string;
  readonly ask: (question: Q) => string;
  readonly expected: (question: Q) => A;
  readonly mutant: (question: Q) => A;
  readonly right: (question: Q) => A;
}): Trial {
  const compare = (answer: (question: Q) => A) => (): Promise<readonly string[]> => {
    const found: string[] = [];
    for (const question of options.questions()) {
      const [expected, got] = [options.expected(question), answer(question)];
      if (Object.is(expected, got)) continue;
      found.push(`${options.ask(question)}: ${String(got)}, not ${String(expected)}`);
      if (found.length >= 5000) break;
    }
    return Promise.resolve(found);
  };
  return {
    check: options.check,
    names: options.names,
    mutant: compare(options.mutant),
    right: compare(options.right),
    bound: options.bound,
  };
}
