import { DmaBufError, PAGE_SIZE } from "@peerbar/core";
import type {
  P2pdma,
  P2pdmaDecision,
  PciBarInfo,
  PciFunctionInfo,
  PciTopology,
} from "@peerbar/p2pdma";
import { isOfClass } from "@peerbar/words";
import { CannotTell } from "../failure.js";

/** Whom the story is about. */
export interface Cast {
  readonly provider: PciFunctionInfo;
  readonly bar: PciBarInfo;
  readonly client: PciFunctionInfo;
  readonly decision: P2pdmaDecision;
  /** Functions whose ACS the input does not show and the story takes as off. */
  readonly assumed: readonly string[];
  /** A pair looked at before and refused, to show what a refusal looks like. */
  readonly refused: P2pdmaDecision | undefined;
  /** A third function, for the address space of iommufd: any but the client; the provider itself where nothing else is there. */
  readonly bystander: PciFunctionInfo;
}

/** The largest memory BAR that holds a page and whose size is shown, or the one that was asked for. */
function shareableBar(fn: PciFunctionInfo, wanted: number | undefined): PciBarInfo | undefined {
  let best: PciBarInfo | undefined;
  for (const bar of fn.bars) {
    if (wanted !== undefined && bar?.index !== wanted) continue;
    if (bar?.kind !== "memory" || bar.length === undefined || bar.length < PAGE_SIZE) continue;
    if (best?.length === undefined || bar.length > best.length) best = bar;
  }
  return best;
}

/**
 * Picks the pair of the story. Named functions are kept; a refused pair is remembered and the next that works is taken.
 *
 * @throws DmaBufError ENODEV for an unknown function or one without a memory BAR; CannotTell where no BAR size is shown.
 */
export function chooseCast(
  topology: PciTopology,
  p2pdma: P2pdma,
  wanted: {
    readonly provider?: string | undefined;
    readonly client?: string | undefined;
    readonly bar?: string | undefined;
  },
): Cast | { readonly refused: P2pdmaDecision; readonly tried: number } {
  const providers = providersOf(topology, wanted.provider, wanted.bar);
  const clients = clientsOf(topology, wanted.client);
  const isNamed = wanted.provider !== undefined && wanted.client !== undefined;
  let refused: P2pdmaDecision | undefined;
  let guess: Omit<Cast, "refused" | "bystander"> | undefined;
  let tried = 0;
  const rounds = isNamed
    ? ([
        [providers, clients],
        [providers, clientsOf(topology, undefined)],
      ] as const)
    : ([[providers, clients]] as const);
  for (const [from, to] of rounds) {
    for (const { fn: provider, bar } of from) {
      for (const client of to) {
        if (client.address === provider.address && !isNamed) continue;
        tried += 1;
        const decision = p2pdma.decide(provider, client);
        const cast = { provider, bar, client, decision };
        if (decision.mapType === "not-supported") refused ??= decision;
        else if (decision.mapType !== "unknown") {
          return finish(topology, p2pdma, { ...cast, assumed: [] }, refused);
        } else if (
          decision.mapTypeAsShown !== "not-supported" &&
          decision.hostBridgeUnknown !== true
        ) {
          guess ??= { ...cast, assumed: decision.acsUnknown ?? [] };
        } else refused ??= decision;
      }
    }
  }
  if (guess !== undefined) return finish(topology, p2pdma, guess, refused);
  if (refused === undefined) {
    throw new DmaBufError(
      "ENODEV",
      "demo",
      `${topology.source.name} has no second function that could be a client`,
    );
  }
  return { refused, tried };
}

function finish(
  topology: PciTopology,
  p2pdma: P2pdma,
  cast: Omit<Cast, "refused" | "bystander">,
  refused: P2pdmaDecision | undefined,
): Cast {
  const { provider, client } = cast;
  const others = clientsOf(topology, undefined).filter(
    (fn) => fn.address !== client.address && fn.address !== provider.address,
  );
  // Another device shows more than a second function of the same one.
  const elsewhere = others.filter((fn) => fn.bus !== client.bus || fn.slot !== client.slot);
  const bystander =
    elsewhere.find((fn) => isOfClass(fn, "nvme")) ?? elsewhere[0] ?? others[0] ?? provider;
  const contrast = others
    .map((fn) => p2pdma.decide(provider, fn))
    .find((decision) => decision.mapType === "not-supported");
  return { ...cast, refused: refused ?? contrast, bystander };
}

function providersOf(
  topology: PciTopology,
  wanted: string | undefined,
  wantedBar: string | undefined,
): readonly { readonly fn: PciFunctionInfo; readonly bar: PciBarInfo }[] {
  const functions = wanted === undefined ? topology.endpoints() : [topology.at(wanted)];
  const index = parseBar(wantedBar);
  const found = functions.flatMap((fn) => {
    const bar = shareableBar(fn, index);
    return bar === undefined ? [] : [{ fn, bar }];
  });
  if (found.length > 0) {
    // GPUs first, then what else has much memory to share.
    return found.sort(
      (a, b) =>
        rank(a.fn, ["gpu", "nvme", "nic"]) - rank(b.fn, ["gpu", "nvme", "nic"]) ||
        Number((b.bar.length ?? 0n) - (a.bar.length ?? 0n)),
    );
  }
  const hidden = functions.some((fn) =>
    fn.bars.some((bar) => bar?.kind === "memory" && bar.length === undefined),
  );
  const which = index === undefined ? "" : ` (BAR ${String(index)})`;
  const who = `${wanted ?? topology.source.name}${which}`;
  if (hidden) {
    throw new CannotTell("ENODATA", "demo", `${who} shows memory BARs, but not their sizes`, {
      hint: "capture again with lspci -vv as root, or `peerbar capture`; hex dumps alone have no sizes",
    });
  }
  throw new DmaBufError("ENODEV", "demo", `${who} has no memory BAR of a page or more to share`, {
    hint:
      wanted === undefined
        ? "use a capture taken with lspci -vv"
        : "choose another --provider: a GPU, NIC or NVMe drive",
    rule: "vfio-pci-dmabuf V12",
  });
}

function clientsOf(topology: PciTopology, wanted: string | undefined): readonly PciFunctionInfo[] {
  if (wanted !== undefined) return [topology.at(wanted)];
  const order = ["nic", "nvme", "gpu", "storage"] as const;
  return topology
    .endpoints()
    .filter((fn) => fn.classCode !== undefined && !isOfClass(fn, "bridge"))
    .sort((a, b) => rank(a, order) - rank(b, order));
}

function rank(fn: PciFunctionInfo, order: readonly ("gpu" | "nic" | "nvme" | "storage")[]): number {
  const at = order.findIndex((name) => isOfClass(fn, name));
  return at < 0 ? order.length : at;
}

function parseBar(text: string | undefined): number | undefined {
  if (text === undefined || /^[0-5]$/.test(text))
    return text === undefined ? undefined : Number(text);
  throw new DmaBufError("ENODEV", "--bar", `"${text}" is no BAR`, {
    hint: "BARs are numbered 0 to 5",
    rule: "vfio-pci-dmabuf V12",
  });
}
