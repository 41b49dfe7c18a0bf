import { hex } from "@peerbar/core";
import { describeFunction, formatBytes, pathText } from "@peerbar/words";
import { type ExitCode, exit } from "../exit.js";
import type { Io } from "../io.js";
import { sourceJson } from "../json.js";
import { pairJson } from "../pair-json.js";
import { makeStyle, type Style } from "../style.js";
import type { HoldEnd } from "./hold.js";
import type { Held, Share } from "./share.js";
import type { ShareWorld } from "./world.js";

/** Tells what happens: lines for people as it happens, or two lines of JSON. */
export class Teller {
  readonly #io: Io;
  readonly #json: boolean;
  readonly #style: Style;
  #end: HoldEnd = "at once";

  constructor(io: Io, json: boolean) {
    this.#io = io;
    this.#json = json;
    this.#style = makeStyle(io.color);
  }

  plan(world: ShareWorld, { provider, client, decision }: Share): void {
    const { topology } = world.subject;
    for (const line of world.recovered) this.#say("recovered", line);
    this.#say("provider", describeFunction(topology.at(provider)));
    this.#say("client", describeFunction(topology.at(client)));
    this.#say("path", pathText(decision));
    this.#say("verdict", `${decision.mapType}: ${decision.reason} (${decision.rule})`);
  }

  refused(what: Share): ExitCode {
    const { provider, client, decision } = what;
    const text = `${client} cannot reach BAR ${String(what.bar)} of ${provider}: ${decision.reason}`;
    if (this.#json) this.#line({ event: "refused", ok: false, ...pairJson(decision) });
    else
      this.#io.out(
        `${this.#style.bad("no:")} ${text}; peerbar why ${provider} ${client} says what helps, --anyway shares it all the same\n`,
      );
    return exit.no;
  }

  shared(world: ShareWorld, what: Share, { buffer, ioas, mapping }: Held): void {
    const { provider, client, bar, slice } = what;
    const fd = fdOf(buffer);
    const range = `[${hex(slice.offset)}, ${hex(slice.offset + slice.length)})`;
    this.#say(
      "export",
      `BAR ${String(bar)} ${range} of ${provider}, ${formatBytes(buffer.size)}${fd === undefined ? "" : `, dma-buf fd ${String(fd)} of process ${String(process.pid)}`}`,
    );
    const last = mapping.iova + mapping.length - 1n;
    this.#say(
      "map",
      `IOVA ${hex(mapping.iova)} to ${hex(last)} in the address space of ${client} (IOAS ${String(ioas.space.id)})`,
    );
    for (const address of new Set([provider, client])) {
      const driver = world.driverOf(address);
      if (driver !== undefined) this.#say("driver", `${address}: ${driver}`);
    }
    if (!this.#json) return;
    this.#line({
      event: "shared",
      source: sourceJson(world.subject),
      backend: world.backend,
      recovered: world.recovered,
      ...pairJson(what.decision),
      bar,
      offset: hex(slice.offset),
      length: hex(slice.length),
      dmaBuf: { size: hex(buffer.size), ...(fd === undefined ? {} : { fd, pid: process.pid }) },
      iova: hex(mapping.iova),
      ioas: ioas.space.id,
    });
  }

  end(end: HoldEnd): void {
    this.#end = end;
    if (end !== "at once" && end !== "time") this.#say("signal", end);
  }

  /** @param leftovers - sentences; empty: everything is as before. */
  released(leftovers: readonly string[]): ExitCode {
    const ok = leftovers.length === 0;
    if (this.#json) this.#line({ event: "released", ok, ended: this.#end, leftovers });
    else if (ok)
      this.#io.out(`${this.#style.good("done:")} shared and released, nothing is left\n`);
    if (!ok) for (const line of leftovers) this.#io.err(`peerbar: EBUSY: share: ${line}\n`);
    return ok ? exit.ok : exit.no;
  }

  #say(what: string, text: string): void {
    if (!this.#json) this.#io.out(`${this.#style.dim(what.padEnd(9))} ${text}\n`);
  }

  #line(object: Readonly<Record<string, unknown>>): void {
    this.#io.out(`${JSON.stringify({ schemaVersion: 1, ...object })}\n`);
  }
}

/** The descriptor of a kernel's buffer. */
function fdOf(buffer: object): number | undefined {
  return "fd" in buffer && typeof buffer.fd === "number" ? buffer.fd : undefined;
}
