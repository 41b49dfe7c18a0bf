import { dispose } from "./dispose.js";
import { DmaBufError } from "./error.js";
import type { Scheduler, WaitPoint } from "./scheduler.js";

/** The part of `AbortSignal` that waits need; DOM's and Node's both fit. */
export interface AbortSignalLike {
  readonly aborted: boolean;
  readonly reason: unknown;
  /** Calls `listener` once when the signal is aborted. */
  addEventListener(type: "abort", listener: () => void): void;
  /** Forgets a listener. */
  removeEventListener(type: "abort", listener: () => void): void;
}

/** How long a caller is ready to wait. Without either the wait is unbounded, as the kernel's uninterruptible ones are. */
export interface WaitOptions {
  /** Aborting ends the wait with EINTR; what was waited for is unaffected. */
  readonly signal?: AbortSignalLike | undefined;
  /**
   * Virtual time (`scheduler.nowUs`), in microseconds, at which the wait ends with ETIMEDOUT. A time already reached makes it a poll:
   * what is there is taken, nothing is waited for.
   */
  readonly deadlineUs?: number | undefined;
}

/** Throws EINTR where the caller has already given up. */
export function throwIfAborted(options: WaitOptions | undefined, syscall: string): void {
  if (options?.signal?.aborted === true) throw interrupted(syscall, options.signal.reason);
}

function interrupted(syscall: string, reason: unknown): DmaBufError {
  return new DmaBufError("EINTR", syscall, "the wait was aborted by its caller", { cause: reason });
}

function timedOut(point: WaitPoint, syscall: string): DmaBufError {
  return new DmaBufError("ETIMEDOUT", syscall, `no ${point.kind} on ${point.on} by the deadline`);
}

/**
 * Waits for one event. `subscribe` is called once with the function to call when it happens and returns how to unsubscribe.
 * Whatever comes first decides: an abort or a deadline after the event, even before the waiter has run again, changes nothing.
 *
 * @throws DmaBufError EINTR when `options.signal` aborts, ETIMEDOUT at the deadline. Either way nothing stays subscribed.
 */
export async function waitFor(
  scheduler: Scheduler,
  point: WaitPoint,
  options: WaitOptions | undefined,
  syscall: string,
  subscribe: (wake: () => void) => () => void,
): Promise<void> {
  throwIfAborted(options, syscall);
  const { signal, deadlineUs } = options ?? {};
  // Not a number is no time to wait for either.
  if (deadlineUs !== undefined && !(deadlineUs > scheduler.nowUs)) throw timedOut(point, syscall);
  const waiter = scheduler.park(point);
  let decided = false;
  const unsubscribe = subscribe(() => {
    decided = true;
    waiter.wake();
  });
  const giveUp = (error: () => DmaBufError): void => {
    if (decided) {
      // Changes nothing, but an explorer learns that the order of the two matters.
      waiter.wake();
      return;
    }
    decided = true;
    unsubscribe();
    waiter.fail(error());
  };
  const onAbort = (): void => {
    giveUp(() => interrupted(syscall, signal?.reason));
  };
  const timer =
    deadlineUs === undefined
      ? undefined
      : scheduler.at(deadlineUs, () => {
          giveUp(() => timedOut(point, syscall));
        });
  signal?.addEventListener("abort", onAbort);
  try {
    await waiter.promise;
  } finally {
    signal?.removeEventListener("abort", onAbort);
    timer?.[dispose]();
  }
}
