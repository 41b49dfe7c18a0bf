import type { KoffiFunc } from "koffi";

/**
 * Runs a call on a thread of koffi's pool. `settle` turns its result into the promise's value, or throws; it runs while errno is still
 * the call's own.
 */
export function offMainThread<Args extends unknown[], Result>(
  call: KoffiFunc<(...args: Args) => number>,
  args: Args,
  settle: (result: number) => Result,
): Promise<Result> {
  return new Promise((resolve, reject) => {
    const done = (error: Error | null, result: number): void => {
      try {
        if (error) throw error;
        resolve(settle(result));
      } catch (reason) {
        reject(reason instanceof Error ? reason : new Error(String(reason)));
      }
      // Naming them here is what keeps the memory they point to from being collected during the call.
      args.length = 0;
    };
    call.async(...args, done);
  });
}
