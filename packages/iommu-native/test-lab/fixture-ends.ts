/** What the kernel does takes time of its own: a turn is a millisecond. */
export const turn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 1));

/** Ends of the fixtures that setup made. */
const ends = new WeakMap<object, () => void | Promise<void>>();

/** Has {@link teardown} end the fixture so. */
export function ending<F extends object>(fixture: F, end: () => void | Promise<void>): F {
  ends.set(fixture, end);
  return fixture;
}

export const teardown = async (fixture: object): Promise<void> => {
  await ends.get(fixture)?.();
  // Releases are deferred by a turn.
  await turn();
};

/** A device that attaches to a buffer and does nothing else. */
export const bystander = { name: "importer", pciAddress: undefined, dmaMask: (1n << 64n) - 1n };
