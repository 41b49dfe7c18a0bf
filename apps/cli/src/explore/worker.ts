import { parentPort, workerData } from "node:worker_threads";
import { isDmaBufError } from "@peerbar/core";
import { type Request, runSession } from "./session.js";
import type { FromThread } from "./thread.js";

/** Milliseconds between signs of life. */
const BEAT = 250;

const stop = new AbortController();
parentPort?.on("message", () => {
  stop.abort();
});
const beat = setInterval(() => {
  send({ type: "alive" });
}, BEAT);

try {
  const results = await runSession(
    workerData as Request,
    (scenario, progress) => {
      send({ type: "progress", scenario, progress });
    },
    stop.signal,
  );
  send({ type: "done", results });
} catch (error) {
  const { message, stack } = error instanceof Error ? error : new Error(String(error));
  send({
    type: "failed",
    stack,
    reason: isDmaBufError(error) ? error.reason : message,
    hint: isDmaBufError(error) ? error.hint : undefined,
    input: isDmaBufError(error),
  });
} finally {
  clearInterval(beat);
  parentPort?.close();
}

function send(message: FromThread): void {
  parentPort?.postMessage(message);
}
