import type { Slice } from "@peerbar/core";
import { P2pdma, type P2pdmaDecision } from "@peerbar/p2pdma";
import { describeFunction, pathText, type Subject } from "@peerbar/words";
import { type Cast, chooseCast } from "../demo/choose.js";
import { type Scene, setScene } from "../demo/scene.js";
import {
  disableMemory,
  exportBar,
  finish,
  importIntoIommufd,
  importIntoRdma,
  moveBytes,
  recover,
  resetProvider,
} from "../demo/story.js";
import { DemoFailed, Timeline } from "../demo/timeline.js";
import { type ExitCode, exit } from "../exit.js";
import type { Io } from "../io.js";
import { sourceJson } from "../json.js";
import { pairJson } from "../pair-json.js";
import { parseRange } from "../quantity.js";
import { EpisodeRecorder, writeEpisode } from "../report/episode.js";
import { parseBackend } from "../share/world.js";
import { readShipped, readSubject } from "../source.js";
import { makeStyle } from "../style.js";
import { plural } from "../wrap.js";

export interface DemoOptions {
  readonly file?: string | undefined;
  readonly cpu?: string | undefined;
  readonly provider?: string | undefined;
  readonly client?: string | undefined;
  readonly bar?: string | undefined;
  readonly range?: string | undefined;
  readonly report?: string | undefined;
  readonly json?: boolean | undefined;
  readonly backend?: string | undefined;
}

/** `peerbar demo`: the main job, on a simulated machine built from a capture, or on the kernel. Every step checks itself. */
export async function demo(io: Io, options: DemoOptions): Promise<ExitCode> {
  if (parseBackend(options.backend, "mock") === "native") {
    return (await import("../demo/native.js")).nativeDemo(io, options);
  }
  const style = makeStyle(io.color);
  const told = new Timeline(options.json === true ? undefined : io, style);
  const recorder = options.report === undefined ? undefined : new EpisodeRecorder(told);
  const subject =
    options.file === undefined ? await readShipped(options) : await readSubject(options);
  const p2pdma = new P2pdma(subject.topology, { cpu: subject.cpu });
  const cast = chooseCast(subject.topology, p2pdma, options);
  const range = options.range === undefined ? undefined : parseRange(options.range);
  let failed: string | undefined;
  try {
    introduce(told, subject);
    if (!("bar" in cast) && options.report !== undefined) {
      io.err("peerbar: demo: no --report is written: no pair can share, so nothing runs\n");
    }
    if (!("bar" in cast)) return refuse(io, options, told, subject, cast);
    await tell(told, subject, p2pdma, cast, range, recorder);
  } catch (error) {
    if (!(error instanceof DemoFailed)) throw error;
    failed = error.message;
  }
  const done =
    failed === undefined
      ? `all ${String(told.checks)} checks in ${String(told.steps.length)} steps passed`
      : `failed at ${failed}`;
  if (options.json === true) writeJson(io, subject, told, failed === undefined, done, cast);
  else io.out(`\n${failed === undefined ? style.good("done:") : style.bad("demo:")} ${done}\n`);
  if (options.report !== undefined && recorder !== undefined && "bar" in cast) {
    const { provider, client } = cast;
    const pair = { provider: provider.address, client: client.address };
    const title = `peerbar demo on ${subject.topology.source.name}`;
    const episode = recorder.episode(title, done, failed === undefined);
    const files = await writeEpisode(options.report, subject, pair, episode, recorder.trace);
    if (options.json !== true) io.out(`report: ${files.page}\ntrace:  ${files.trace}\n`);
  }
  return failed === undefined ? exit.ok : exit.no;
}

function introduce(told: Timeline, subject: Subject): void {
  const { topology, cpu, cpuEvidence } = subject;
  const bridges = topology.functions.filter((fn) => fn.busNumbers !== undefined).length;
  told.step(`the machine: ${topology.source.name}`);
  told.say(
    `${plural(topology.functions.length, "function")}, ${plural(bridges, "bridge")}, ${plural(topology.hostBridges.length, "host bridge")}; CPU ${cpu}${cpuEvidence === "" ? " (the capture does not say; --cpu would)" : ` (${cpuEvidence})`}`,
    { functions: topology.functions.length, bridges, cpu },
  );
}

async function tell(
  told: Timeline,
  subject: Subject,
  p2pdma: P2pdma,
  cast: Cast,
  range: Slice | undefined,
  recorder: EpisodeRecorder | undefined,
): Promise<void> {
  decide(told, cast);
  // What the story assumes is taken as a fact from here on, by the decision and by the machine alike.
  for (const address of cast.assumed) p2pdma.setAcs(address, { state: "none" });
  const scene = setScene(subject.topology, p2pdma, cast, range, recorder);
  sayNotes(told, scene, cast);
  const exported = await exportBar(scene, told);
  const iommufd = await importIntoIommufd(scene, told, exported.buffer);
  const rdma = await importIntoRdma(scene, told, exported.buffer);
  const props = { ...exported, ...iommufd, ...rdma };
  await moveBytes(scene, told, props, "both peers write into the BAR and read it back", 1);
  await resetProvider(scene, told, props);
  await disableMemory(scene, told, props);
  const recovered = await recover(scene, told, props);
  await moveBytes(scene, told, recovered, "bytes flow again", 21);
  await finish(scene, told, recovered);
}

function decide(told: Timeline, cast: Cast): void {
  const { provider, client, bar, decision, refused } = cast;
  if (refused !== undefined) {
    told.step(`can ${refused.client} reach ${refused.provider}?`);
    sayVerdict(told, refused);
    told.check(
      "the kernel would refuse this pair, so it is not tried",
      refused.mapType !== "bus-addr" && refused.mapType !== "thru-host-bridge",
    );
  }
  told.step(`can ${client.address} reach BAR ${String(bar.index)} of ${provider.address}?`);
  told.say(`provider ${describeFunction(provider)}`);
  told.say(`client   ${describeFunction(client)}`);
  sayVerdict(told, decision);
  if (cast.assumed.length > 0) {
    told.say(`assumed for this story: no redirect at ${cast.assumed.join(", ")}`, {
      assumed: cast.assumed,
    });
  }
  told.check(
    `distance ${String(decision.distance)} is the length of that path`,
    decision.distance === hops(decision),
    String(hops(decision)),
  );
}

function sayVerdict(told: Timeline, decision: P2pdmaDecision): void {
  told.say(pathText(decision));
  told.say(`${decision.mapType}: ${decision.reason} (${decision.rule})`, {
    decision: pairJson(decision),
  });
}

/** Steps of the path: the common ancestor is on one side of the list only; without one every device counts (p2pdma section 3). */
function hops(decision: P2pdmaDecision): number {
  const shared = decision.commonAncestor === undefined ? 0 : 1;
  return decision.upPath.length + decision.downPath.length - shared;
}

function sayNotes(told: Timeline, scene: Scene, cast: Cast): void {
  const own = new Set([cast.provider.address, cast.client.address, cast.bystander.address]);
  for (const note of scene.machine.notes) {
    if (note.functions.some((address) => own.has(address))) told.say(`note: ${note.text}`);
  }
}

function refuse(
  io: Io,
  options: DemoOptions,
  told: Timeline,
  subject: Subject,
  cast: { readonly refused: P2pdmaDecision; readonly tried: number },
): ExitCode {
  told.step(`can ${cast.refused.client} reach ${cast.refused.provider}?`);
  sayVerdict(told, cast.refused);
  const unknown = cast.refused.mapType === "unknown";
  const done = unknown
    ? `none of ${String(cast.tried)} pairs is known to work: the capture does not show enough`
    : `none of ${String(cast.tried)} pairs can share: each is refused for such a reason`;
  const hint =
    subject.cpu === "amd-zen" ? "" : "; --cpu amd-zen shows the same machine with an AMD Zen CPU";
  if (options.json === true) writeJson(io, subject, told, false, done, cast);
  else io.out(`\n${makeStyle(io.color).bad("demo:")} ${done}${hint}\n`);
  return unknown ? exit.unknown : exit.no;
}

function writeJson(
  io: Io,
  subject: Subject,
  told: Timeline,
  ok: boolean,
  summary: string,
  cast: Cast | { readonly refused: P2pdmaDecision },
): void {
  const people =
    "bar" in cast
      ? { provider: cast.provider.address, client: cast.client.address, bar: cast.bar.index }
      : { provider: cast.refused.provider, client: cast.refused.client };
  const report = {
    schemaVersion: 1,
    source: sourceJson(subject),
    cpu: subject.cpu,
    ...people,
    ok,
    summary,
    steps: told.steps,
  };
  io.out(`${JSON.stringify(report, bigintsAsHex, 2)}\n`);
}

function bigintsAsHex(_key: string, value: unknown): unknown {
  return typeof value === "bigint" ? `0x${value.toString(16)}` : value;
}
