import {
  mappable,
  mapsPastTheEnd,
  pollsEverything,
  tellsUnlocked,
  waitsAtTheEnd,
} from "../wrong/more-exporters.js";
import { type Entry, entry } from "./entry.js";
import { exploredRace } from "./explored.js";
import { over, rightMemory, TellsWithoutLock } from "./mutants-exporter.js";
import { exporterFails, exporterReported } from "./trials.js";

/** Defects of the core, known-bugs B52 to B55. */
export const bufferEntries: readonly Entry[] = [
  entry(
    {
      id: "B52",
      title: "Poll ignores the direction",
      trigger: "a READ fence is pending",
      wrong: "POLLIN waits for it too",
      right: "POLLIN is ready, POLLOUT is not",
      rule: "dma-buf R48",
      evidence: "inferred",
    },
    exporterFails("buffer/poll-by-direction", pollsEverything, rightMemory),
  ),
  entry(
    {
      id: "B53",
      title: "End of CPU access waits, begin does not",
      trigger: "CPU access while the device writes",
      wrong: "the CPU reads what is not there yet, and waits when it is done",
      right: "begin waits: a reader for writers, a writer for all",
      rule: "dma-buf R42, R43",
      evidence: "inferred",
    },
    exporterFails("buffer/cpu-access-waits-at-its-begin", waitsAtTheEnd, rightMemory),
  ),
  entry(
    {
      id: "B54",
      title: "Size check of mmap",
      trigger: "offset plus length one page past the end, or a page offset near 2^52",
      wrong: "the sum wraps, or one page too many passes",
      right: "EINVAL, EOVERFLOW",
      rule: "dma-buf R50",
      evidence: "inferred",
    },
    exporterFails("buffer/mmap-bounds", mapsPastTheEnd, mappable()),
  ),
  entry(
    {
      id: "B55",
      title: "Invalidate without the lock",
      trigger: "notify while somebody attaches",
      wrong: "the list changes underneath; an attachment is missed",
      right: "the reservation is held",
      rule: "dma-buf R27",
      evidence: "assertion in the source",
    },
    exporterFails("buffer/invalidate-needs-the-lock", tellsUnlocked, rightMemory),
    exporterReported("invalidate-without-lock", over(TellsWithoutLock), rightMemory),
    exploredRace("reported: sanitizer: invalidate-without-lock", { buffer: TellsWithoutLock }),
  ),
];
