/**
 * The end of something that ends asynchronously, however often it is asked for. Who asks while it runs gets the same promise; a failure is
 * forgotten, so that the next call goes on from where it stopped; success is for good.
 */
export class Closing {
  #begun = false;
  #end: Promise<void> | undefined;

  /** True from the first call on, after a failure too: what is being closed takes nothing new. */
  get begun(): boolean {
    return this.#begun;
  }

  /** Runs `work`, or joins the run that is under way or has succeeded. `work` must bear being repeated after it failed. */
  run(work: () => Promise<void>): Promise<void> {
    this.#begun = true;
    this.#end ??= work().catch((error: unknown) => {
      this.#end = undefined;
      throw error;
    });
    return this.#end;
  }
}
