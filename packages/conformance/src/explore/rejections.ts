type Listener = (reason: unknown) => void;

interface Host {
  listeners(event: string): readonly Listener[];
  on(event: string, listener: Listener): unknown;
  removeAllListeners(event: string): unknown;
}

const EVENT = "unhandledRejection";

/** Explorations under way, the innermost last. */
const listening: Listener[] = [];
/** Undoes what was done to the host, while any is under way. */
let giveBack: (() => void) | undefined;

/**
 * Promises of the model that reject with nobody looking are findings, so the host's own way with them waits meanwhile. Returns how to end it.
 * The innermost exploration hears of them. Without Node's `process` such rejections go where the host sends them.
 */
export function catchRejections(listener: Listener): () => void {
  listening.push(listener);
  giveBack ??= takeOver();
  return () => {
    const at = listening.lastIndexOf(listener);
    if (at >= 0) listening.splice(at, 1);
    if (listening.length > 0) return;
    giveBack?.();
    giveBack = undefined;
  };
}

function takeOver(): () => void {
  const host = (globalThis as { process?: Partial<Host> }).process;
  if (!isHost(host)) return () => undefined;
  const others = [...host.listeners(EVENT)];
  host.removeAllListeners(EVENT);
  host.on(EVENT, (reason) => {
    listening.at(-1)?.(reason);
  });
  return () => {
    host.removeAllListeners(EVENT);
    for (const other of others) host.on(EVENT, other);
  };
}

function isHost(host: Partial<Host> | undefined): host is Host {
  return typeof host?.listeners === "function" && typeof host.on === "function";
}
