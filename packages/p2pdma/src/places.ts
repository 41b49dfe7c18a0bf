/** Where each function stands in a list, by its address. Made at the first question: most inputs name no function by another one. */
export class Places {
  readonly #functions: readonly { readonly address: string }[];
  #byAddress: Map<string, number> | undefined;

  constructor(functions: readonly { readonly address: string }[]) {
    this.#functions = functions;
  }

  /** Index of the function at a full address; undefined where there is none. Of several the last. */
  of(address: string): number | undefined {
    if (this.#byAddress === undefined) {
      this.#byAddress = new Map();
      for (const [index, fn] of this.#functions.entries()) this.#byAddress.set(fn.address, index);
    }
    return this.#byAddress.get(address);
  }
}
