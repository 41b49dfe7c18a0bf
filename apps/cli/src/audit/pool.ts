import { existsSync } from "node:fs";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { pool } from "workerpool";
import { compare, type Difference, type Side } from "./difference.js";
import { CaptureReader, type ReadOptions, type ReadResult } from "./reading.js";

/** Reads and compares captures, several at once. */
export interface Readers {
  /** How many work at once. */
  readonly jobs: number;
  read(path: string, stamp: string): Promise<ReadResult>;
  compare(reference: Side, machine: Side): Promise<Difference>;
  close(): Promise<void>;
}

/** Beside main.js in the built tool. Run from sources there is none, and everything is read in this thread. */
const script = fileURLToPath(new URL("./audit-worker.js", import.meta.url));

/** Threads that parse, one a core unless told otherwise; a single job runs in this thread. */
export function makeReaders(wanted: number | undefined, options: ReadOptions): Readers {
  const jobs = existsSync(script) ? (wanted ?? availableParallelism()) : 1;
  if (jobs === 1) {
    const reader = new CaptureReader();
    return {
      jobs,
      read: (path, stamp) => reader.read(path, stamp, options),
      compare: (reference, machine) =>
        Promise.resolve(compare(reference, machine, options.linkSpeed)),
      close: () => Promise.resolve(),
    };
  }
  const threads = pool(script, { maxWorkers: jobs, minWorkers: jobs, workerType: "thread" });
  return {
    jobs,
    read: async (path, stamp) => (await threads.exec("read", [path, stamp, options])) as ReadResult,
    compare: async (reference, machine) =>
      (await threads.exec("compare", [reference, machine, options.linkSpeed])) as Difference,
    close: async () => {
      await threads.terminate();
    },
  };
}
