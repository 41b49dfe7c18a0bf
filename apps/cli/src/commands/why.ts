import { hex } from "@peerbar/core";
import {
  dmaMapping,
  linkBottleneck,
  numaNodes,
  P2pdma,
  type PathStep,
  pathClass,
} from "@peerbar/p2pdma";
import { type Account, accountOf, acsJson, verdictOf } from "@peerbar/words";
import { type ExitCode, exit } from "../exit.js";
import { hostBridgeJson } from "../function-json.js";
import { glyphsFor } from "../glyphs.js";
import type { Io } from "../io.js";
import { sourceJson } from "../json.js";
import { pairJson } from "../pair-json.js";
import { readSubject } from "../source.js";
import { makeStyle } from "../style.js";
import { writeExplanation } from "../why/explain.js";

export interface WhyOptions {
  readonly file?: string | undefined;
  readonly cpu?: string | undefined;
  readonly ascii?: boolean | undefined;
  readonly json?: boolean | undefined;
}

/** `peerbar why PROVIDER CLIENT`: the answer for one ordered pair, explained. */
export async function why(
  io: Io,
  options: WhyOptions,
  provider: string,
  client: string,
): Promise<ExitCode> {
  const subject = await readSubject(options);
  const p2pdma = new P2pdma(subject.topology, { cpu: subject.cpu });
  const decision = p2pdma.decide(provider, client);
  const account = accountOf(subject, p2pdma, decision);
  if (options.json === true) io.out(`${JSON.stringify(accountJson(account), null, 1)}\n`);
  else writeExplanation(io, makeStyle(io.color), glyphsFor(io, options.ascii), account);
  return { yes: exit.ok, no: exit.no, unknown: exit.unknown }[verdictOf(account).answer];
}

function accountJson(account: Account): Record<string, unknown> {
  const { subject, p2pdma, decision, fixes, nearer } = account;
  const { topology } = subject;
  const provider = topology.at(decision.provider);
  const client = topology.at(decision.client);
  const step = (one: PathStep): Record<string, unknown> => ({
    address: one.address,
    portType: topology.get(one.address)?.portType,
    acs: acsJson(one.acs),
    redirects: one.redirects ?? null,
  });
  return {
    schemaVersion: 1,
    source: sourceJson(subject),
    cpu: subject.cpu,
    answer: verdictOf(account).answer,
    ...pairJson(decision),
    commonAncestor: decision.commonAncestor ?? null,
    providerPath: decision.upPath.map(step),
    clientPath: decision.downPath.map(step),
    hostBridges: decision.hostBridges.map(hostBridgeJson),
    pathClass: pathClass(topology, decision) ?? null,
    mapping: dmaMapping(topology, decision),
    bottleneck: linkBottleneck(topology, decision),
    numaNodes: numaNodes(topology, decision),
    iommuGroups: { provider: provider.iommuGroup, client: client.iommuGroup },
    bars: p2pdma.providerBars(decision.provider).map(({ bar, isProvider, busOffset }) => ({
      index: bar.index,
      kind: bar.kind,
      start: hex(bar.start),
      length: bar.length === undefined ? null : hex(bar.length),
      isProvider,
      busOffset: hex(busOffset),
    })),
    fixes,
    nearerClients: nearer,
  };
}
