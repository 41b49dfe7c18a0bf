import { constants } from "node:os";
import { failure, lastErrno } from "./errno.js";
import { libc } from "./libc.js";
import { offMainThread } from "./off-main-thread.js";
import { describeFd } from "./open-fds.js";

/** Events of poll(2) beyond POLLIN and POLLOUT, which core has. */
export const POLLERR = 0x8;
/** `poll`: the other end is gone. */
export const POLLHUP = 0x10;
/** `poll`: no such descriptor. */
export const POLLNVAL = 0x20;

/** What to wait for on one descriptor. */
export interface PollRequest {
  /** The descriptor; stays the caller's. */
  readonly fd: number;
  /** Bits of POLLIN, POLLOUT. */
  readonly events: number;
}

const BYTES = 8;

/**
 * poll(2) on the calling thread: for a timeout of 0, else use {@link pollAsync}. Returns `revents` of each request, in order.
 * @throws DmaBufError with the errno of poll.
 */
export function poll(requests: readonly PollRequest[], timeoutMs = 0): readonly number[] {
  const bytes = pollfds(requests);
  const result = libc("poll").poll(bytes, requests.length, timeoutMs);
  if (result < 0) throw pollFailure(requests);
  return revents(bytes, requests.length);
}

/** poll(2) off the main thread, until something is ready or `timeoutMs` is over; -1 waits for ever, and goes on after a signal. */
export async function pollAsync(
  requests: readonly PollRequest[],
  timeoutMs = -1,
): Promise<readonly number[]> {
  const bytes = pollfds(requests);
  while ((await pollOnce(bytes, requests, timeoutMs)) === "interrupted");
  return revents(bytes, requests.length);
}

function pollOnce(
  bytes: Uint8Array,
  requests: readonly PollRequest[],
  timeoutMs: number,
): Promise<"done" | "interrupted"> {
  return offMainThread(libc("poll").poll, [bytes, requests.length, timeoutMs], (result) => {
    if (result >= 0) return "done";
    if (timeoutMs < 0 && lastErrno("poll") === constants.errno.EINTR) return "interrupted";
    throw pollFailure(requests);
  });
}

function pollfds(requests: readonly PollRequest[]): Uint8Array {
  const view = new DataView(new ArrayBuffer(requests.length * BYTES));
  for (const [index, { fd, events }] of requests.entries()) {
    view.setInt32(index * BYTES, fd, true);
    view.setInt16(index * BYTES + 4, events, true);
  }
  return new Uint8Array(view.buffer);
}

function revents(bytes: Uint8Array, count: number): number[] {
  const view = new DataView(bytes.buffer);
  return Array.from({ length: count }, (_, index) => view.getInt16(index * BYTES + 6, true));
}

function pollFailure(requests: readonly PollRequest[]): Error {
  const what = requests.map(({ fd }) => describeFd(fd)).join(", ");
  return failure("poll", lastErrno("poll"), { what });
}
