import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import {
  type Exploration,
  type ExploreOptions,
  explore,
  type Progress,
  type Replay,
  replay,
  type Scenario,
  ScenarioError,
} from "@peerbar/conformance/explore";
import { DmaBufError } from "@peerbar/core";
import { guide } from "../guide.js";

/** What a session is asked to do. Can be sent to a thread. */
export interface Request {
  /** A module; the shipped scenarios where absent. */
  readonly file: string | undefined;
  readonly only: string | undefined;
  readonly replay: string | undefined;
  /** Runs the first failure once more, for its page. */
  readonly report: boolean;
  readonly options: Omit<ExploreOptions, "onProgress" | "signal">;
}

/** One scenario's result, with the time it took. */
export type Timed = Exploration & { readonly seconds: number };

/** What a session came to. */
export interface Results {
  readonly explorations: readonly Timed[];
  readonly replays: readonly (Replay & { readonly scenario: string })[];
}

/**
 * Loads the module and does what was asked.
 *
 * @param loaded - called once the module is there and scenarios begin to run.
 * @throws DmaBufError EINVAL for a module that cannot be loaded or has no scenario, a scenario that cannot be explored, or a schedule that is
 *   not one of it.
 */
export async function runSession(
  request: Request,
  tell: (scenario: string, progress: Progress) => void,
  signal: AbortSignal,
  loaded: () => void = () => undefined,
): Promise<Results> {
  const scenarios = await scenariosOf(request);
  loaded();
  const explorations: Timed[] = [];
  const replays: (Replay & { scenario: string })[] = [];
  for (const one of scenarios) {
    if (signal.aborted) break;
    try {
      if (request.replay !== undefined) {
        replays.push({ scenario: one.name, ...(await replay(one, request.replay)) });
        continue;
      }
      const began = performance.now();
      const onProgress = (progress: Progress): void => {
        tell(one.name, progress);
      };
      const result = await explore(one, { ...request.options, onProgress, signal });
      explorations.push({ ...result, seconds: (performance.now() - began) / 1000 });
      const [failure] = result.failures;
      if (request.report && failure !== undefined && replays.length === 0) {
        replays.push({ scenario: one.name, ...(await replay(one, failure.schedule)) });
      }
    } catch (error) {
      throw asInput(error, one.name);
    }
  }
  return { explorations, replays };
}

function asInput(error: unknown, name: string): unknown {
  if (!(error instanceof ScenarioError) && !(error instanceof TypeError)) return error;
  return new DmaBufError("EINVAL", "explore", error.message, {
    hint: `what scenario "${name}" may do: ${guide("explorer.md")}`,
    cause: error,
  });
}

/** Scenarios among a module's exports, lists of them included. */
async function scenariosOf({
  file,
  only,
  replay: schedule,
}: Request): Promise<readonly Scenario[]> {
  const exported = file === undefined ? await import("./scenarios/index.js") : await load(file);
  const where = file ?? "peerbar";
  const found = Object.values(exported)
    .flatMap((value: unknown): unknown[] => (Array.isArray(value) ? value : [value]))
    .filter(isScenario);
  // One that is exported by itself and in a list is one.
  const all = [...new Set(found)];
  const twice = all.find(({ name }, i) => all.findIndex((one) => one.name === name) < i);
  if (twice !== undefined) {
    throw new DmaBufError("EINVAL", "explore", `${where} has two scenarios "${twice.name}"`, {
      hint: "give each a name of its own: results and schedules are told by it",
    });
  }
  const named = all.filter(({ name }) => name === only);
  const scenarios =
    named.length > 0 ? named : all.filter(({ name }) => only === undefined || name.includes(only));
  if (scenarios.length === 0) {
    const why = all.length === 0 ? "exports no scenario" : `has no scenario like "${only ?? ""}"`;
    throw new DmaBufError("EINVAL", "explore", `${where} ${why}`, {
      hint:
        all.length === 0
          ? `export what scenario(name, build) returns: ${guide("explorer.md")}`
          : namesOf(all),
    });
  }
  if (schedule !== undefined && scenarios.length > 1) {
    throw new DmaBufError(
      "EINVAL",
      "explore",
      `a schedule is of one scenario, not of ${namesOf(scenarios)}`,
      { hint: "choose with --only" },
    );
  }
  return scenarios;
}

function namesOf(scenarios: readonly Scenario[]): string {
  return scenarios.map(({ name }) => `"${name}"`).join(", ");
}

async function load(file: string): Promise<object> {
  try {
    return (await import(pathToFileURL(resolve(file)).href)) as object;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new DmaBufError("EINVAL", "explore", `${file} cannot be loaded: ${reason}`, {
      hint: "name a JavaScript module that Node can import",
      cause,
    });
  }
}

function isScenario(value: unknown): value is Scenario {
  if (typeof value !== "object" || value === null) return false;
  const { name, build } = value as Partial<Record<string, unknown>>;
  return typeof name === "string" && typeof build === "function";
}
