import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Skipped, Taken } from "./case.js";
import { runNode } from "./run-node.js";
import { scratchFolder } from "./scratch.js";

/** A fleet that was audited, and read as plainly as can be, in turn. */
export interface Audited extends Taken {
  /** Largest resident set that an audit had, bytes. */
  readonly peakBytes: number;
}

/** What a process came to, as it says itself at its end. */
interface Usage {
  /** Processor time of all its threads. */
  readonly ns: number;
  readonly peakBytes: number;
}

const path = (relative: string): string => fileURLToPath(new URL(relative, import.meta.url));

/** Of the built program: all of this runs beside dist/main.js. */
const files = {
  maker: path("../../../tooling/fleet/make-fleet.mjs"),
  library: path("../../../packages/p2pdma/dist/index.js"),
  tool: path("../../cli/bin/peerbar.js"),
  toolItself: path("../../cli/dist/main.js"),
  reader: path("fleet-reader.js"),
};

/** Appended to what a process writes on stderr. */
const MARK = "peerbar-bench-usage ";
const REPORT = `import{isMainThread}from"node:worker_threads";if(isMainThread)process.on("exit",()=>{const r=process.resourceUsage();process.stderr.write("\\n${MARK}"+JSON.stringify({ns:(r.userCPUTime+r.systemCPUTime)*1e3,peakBytes:r.maxRSS*1024})+"\\n")})`;

/** Why no fleet can be audited here, or undefined. */
export function auditProblem(): Skipped | undefined {
  const absent = [files.maker, files.library, files.toolItself].find((file) => !existsSync(file));
  return absent === undefined
    ? undefined
    : { skipped: `${absent} is not there: pnpm bench audit builds it, in the checkout` };
}

/** Makes a fleet of `count` captures, has `peerbar audit` judge it `rounds` times, and takes it away again. */
export async function auditFleet(count: number, rounds: number): Promise<Audited | Skipped> {
  const problem = auditProblem();
  if (problem !== undefined) return problem;
  const folder = scratchFolder();
  try {
    await node(files.maker, folder.path, String(count));
    const [ns, yardstickNs]: [number[], number[]] = [[], []];
    let peakBytes = 0;
    for (let round = 0; round < rounds; round++) {
      const audit = await node(files.tool, "audit", folder.path);
      ns.push(audit.ns);
      yardstickNs.push((await node(files.reader, folder.path)).ns);
      peakBytes = Math.max(peakBytes, audit.peakBytes);
    }
    return { ns, yardstickNs, peakBytes };
  } finally {
    folder.remove();
  }
}

/** Runs a program of Node's to its end. @throws Error where it fails; that machines of a fleet differ (1) is an answer. */
async function node(...args: string[]): Promise<Usage> {
  const report = `data:text/javascript,${encodeURIComponent(REPORT)}`;
  const { code, said } = await runNode(["--import", report, ...args]);
  const at = said.lastIndexOf(MARK);
  if ((code === 0 || code === 1) && at >= 0)
    return JSON.parse(said.slice(at + MARK.length)) as Usage;
  const words = said.slice(0, Math.max(at, 0)).trim();
  throw new Error(`${args.join(" ")} ended with ${String(code)}: ${words}`);
}
