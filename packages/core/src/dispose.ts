/**
 * The symbols `using` looks for. Browsers and bare VM contexts may lack them; the registered symbol then keeps classes loadable,
 * and callers use the named method (`release`, `detach`, `put`, ...) instead of `using`.
 */
export const dispose: typeof Symbol.dispose =
  (Symbol as { dispose?: typeof Symbol.dispose }).dispose ??
  (Symbol.for("Symbol.dispose") as typeof Symbol.dispose);

/** See {@link dispose}. */
export const asyncDispose: typeof Symbol.asyncDispose =
  (Symbol as { asyncDispose?: typeof Symbol.asyncDispose }).asyncDispose ??
  (Symbol.for("Symbol.asyncDispose") as typeof Symbol.asyncDispose);
