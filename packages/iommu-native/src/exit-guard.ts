/** What must be undone before the process ends, newest first. Must not wait: nothing asynchronous runs in an exit handler. */
type Cleanup = () => void;

const cleanups = new Set<Cleanup>();
const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/**
 * Runs `cleanup` at exit, after an uncaught error, and on SIGINT, SIGTERM and SIGHUP, unless it was taken back before. The process then
 * ends by that signal. A program with a handler of its own for a signal ends itself, in its own order; the exit handler is behind it.
 *
 * @returns takes it back.
 */
export function beforeExit(cleanup: Cleanup): () => void {
  if (cleanups.size === 0) listen();
  cleanups.add(cleanup);
  return () => {
    cleanups.delete(cleanup);
    if (cleanups.size === 0) unlisten();
  };
}

function runAll(): void {
  for (const cleanup of [...cleanups].reverse()) {
    cleanups.delete(cleanup);
    try {
      cleanup();
    } catch (error) {
      // Nobody is left to catch it, and the others must have their turn.
      process.stderr.write(`peerbar: ${error instanceof Error ? error.message : String(error)}\n`);
    }
  }
  unlisten();
}

function onSignal(signal: NodeJS.Signals): void {
  if (process.listenerCount(signal) > 1) return;
  runAll();
  process.kill(process.pid, signal);
}

function listen(): void {
  process.on("exit", runAll);
  for (const signal of SIGNALS) process.on(signal, onSignal);
}

function unlisten(): void {
  process.off("exit", runAll);
  for (const signal of SIGNALS) process.off(signal, onSignal);
}
