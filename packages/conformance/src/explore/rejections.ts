type Listener = (reason: unknown) => void;

interface Host {
  listeners(event: string): readonly Listener[];
  on(event: string, listener: Listener): unknown;
  removeAllListeners(event: string): unknown;
}

const EVENT = "unhandledRejection";

/**
 * Promises of the model that reject with nobody looking are findings, so the host's own way with them waits meanwhile. Returns how to give it
 * back. Without Node's `process` such rejections go where the host sends them.
 */
export function catchRejections(listener: Listener): () => void {
  const host = (globalThis as { process?: Partial<Host> }).process;
  if (!isHost(host)) return () => undefined;
  const others = host.listeners(EVENT);
  host.removeAllListeners(EVENT);
  host.on(EVENT, listener);
  return () => {
    host.removeAllListeners(EVENT);
    for (const other of others) host.on(EVENT, other);
  };
}

function isHost(host: Partial<Host> | undefined): host is Host {
  return typeof host?.listeners === "function" && typeof host.on === "function";
}
