import { DmaBufError } from "@peerbar/core";
import { P2pdma, type P2pdmaDecision, type PciFunctionInfo } from "@peerbar/p2pdma";
import { describeFunction, pathText } from "@peerbar/words";
import { type ExitCode, exit } from "../exit.js";
import { CannotTell } from "../failure.js";
import type { Io } from "../io.js";
import { sourceJson } from "../json.js";
import { pairJson } from "../pair-json.js";
import { parseRange } from "../quantity.js";
import { type NativeWorld, nativeWorld } from "../share/native-world.js";
import { makeStyle } from "../style.js";
import { tellNative } from "./native-story.js";
import { DemoFailed, Timeline } from "./timeline.js";

export interface NativeDemoOptions {
  readonly file?: string | undefined;
  readonly report?: string | undefined;
  readonly provider?: string | undefined;
  readonly client?: string | undefined;
  readonly bar?: string | undefined;
  readonly range?: string | undefined;
  readonly json?: boolean | undefined;
}

/** Whom the story on the kernel is about. */
export interface NativeCast {
  readonly provider: PciFunctionInfo;
  readonly bar: number;
  readonly client: PciFunctionInfo;
  readonly decision: P2pdmaDecision;
}

/** `peerbar demo --backend native`: the same story on the running kernel, with real bytes moved by a real device. */
export async function nativeDemo(io: Io, options: NativeDemoOptions): Promise<ExitCode> {
  if (options.file !== undefined || options.report !== undefined) {
    const flag = options.file === undefined ? "--report" : "--file";
    throw new DmaBufError(
      "EINVAL",
      flag,
      "the kernel's story is told as it happens, on this machine",
      {
        hint: "leave it out, or take the mock backend",
      },
    );
  }
  const told = new Timeline(options.json === true ? undefined : io, makeStyle(io.color));
  const world = nativeWorld({});
  let failed: string | undefined;
  let cast: NativeCast;
  try {
    cast = chooseNativeCast(world, options);
    introduce(told, world, cast);
    await tellNative(
      told,
      world,
      cast,
      options.range === undefined ? undefined : parseRange(options.range),
    );
  } catch (error) {
    if (!(error instanceof DemoFailed)) throw error;
    failed = error.message;
  } finally {
    await world.close();
  }
  return conclude(io, options, told, world, failed);
}

function conclude(
  io: Io,
  options: NativeDemoOptions,
  told: Timeline,
  world: NativeWorld,
  earlier: string | undefined,
): ExitCode {
  let failed = earlier;
  if (failed === undefined) {
    try {
      told.step("what is left");
      const left = world.leftovers();
      told.check(
        "every descriptor is closed, every function is with its driver",
        left.length === 0,
        left.join("; "),
      );
    } catch (error) {
      if (!(error instanceof DemoFailed)) throw error;
      failed = error.message;
    }
  }
  const style = makeStyle(io.color);
  const done =
    failed === undefined
      ? `all ${String(told.checks)} checks in ${String(told.steps.length)} steps passed`
      : `failed at ${failed}`;
  if (options.json === true) {
    const { subject, backend } = world;
    const report = {
      schemaVersion: 1,
      source: sourceJson(subject),
      cpu: subject.cpu,
      backend,
      ok: failed === undefined,
      summary: done,
      steps: told.steps,
    };
    io.out(`${JSON.stringify(report, null, 2)}\n`);
  } else io.out(`\n${failed === undefined ? style.good("done:") : style.bad("demo:")} ${done}\n`);
  return failed === undefined ? exit.ok : exit.no;
}

function introduce(told: Timeline, world: NativeWorld, cast: NativeCast): void {
  const { topology, cpu, cpuEvidence } = world.subject;
  const { provider, client, bar, decision } = cast;
  told.step("this machine, and its kernel");
  told.say(`${String(topology.functions.length)} functions; CPU ${cpu} (${cpuEvidence})`, {
    functions: topology.functions.length,
    cpu,
  });
  for (const line of world.recovered) told.say(`left behind by a killed run: ${line}`);
  told.step(`can ${client.address} reach BAR ${String(bar)} of ${provider.address}?`);
  told.say(`provider ${describeFunction(provider)}`);
  told.say(`client   ${describeFunction(client)}`);
  told.say(pathText(decision));
  told.say(`${decision.mapType}: ${decision.reason} (${decision.rule})`, {
    decision: pairJson(decision),
  });
}

/** QEMU's edu: the one engine that this tool has a driver for. */
const isEngine = (fn: PciFunctionInfo): boolean => fn.vendorId === 0x1234 && fn.deviceId === 0x11e8;

/**
 * Named functions, or the first pair that can share: an engine as client, and a function with a memory BAR that is no engine.
 *
 * @throws CannotTell where no engine is here.
 */
function chooseNativeCast(world: NativeWorld, options: NativeDemoOptions): NativeCast {
  const { topology, cpu } = world.subject;
  const p2pdma = new P2pdma(topology, { cpu });
  const clients =
    options.client === undefined ? topology.endpoints() : [topology.at(options.client)];
  const providers =
    options.provider === undefined ? topology.endpoints() : [topology.at(options.provider)];
  const engines = clients.filter(isEngine);
  if (engines.length === 0) {
    const who = options.client ?? "no function of this machine";
    const has = options.client === undefined ? "has a" : "has no";
    throw new CannotTell("ENODEV", "demo", `${who} ${has} DMA engine that this tool can drive`, {
      hint: "QEMU's edu has one: pnpm lab brings such a machine; on others peerbar share goes as far as the mapping",
    });
  }
  const pairs = providers.flatMap((provider) => {
    const bar = barOf(provider, options.bar);
    // Unnamed providers: nothing that has a driver is taken for a demonstration.
    const free = options.provider !== undefined || world.driverOf(provider.address) === undefined;
    if (bar === undefined || isEngine(provider) || !free) return [];
    return engines.map((client) => ({
      provider,
      bar,
      client,
      decision: p2pdma.decide(provider, client),
    }));
  });
  const best =
    pairs.find(({ decision }) => decision.mapType === "bus-addr") ??
    pairs.find(({ decision }) => decision.mapType === "thru-host-bridge") ??
    pairs.find(({ decision }) => decision.mapType === "unknown");
  if (best !== undefined) return best;
  throw new DmaBufError(
    "ENODEV",
    "demo",
    "no pair here has a memory BAR to share and can reach it",
    {
      hint: "name one: --provider, --client, --bar; peerbar matrix shows which can share",
    },
  );
}

/** The largest memory BAR of a page or more, or the one that was asked for. */
function barOf(fn: PciFunctionInfo, wanted: string | undefined): number | undefined {
  const bars = fn.bars.filter(
    (bar) =>
      bar?.kind === "memory" &&
      (bar.length ?? 0n) >= 4096n &&
      (wanted === undefined || String(bar.index) === wanted),
  );
  return bars.sort((a, b) => Number((b?.length ?? 0n) - (a?.length ?? 0n)))[0]?.index;
}
