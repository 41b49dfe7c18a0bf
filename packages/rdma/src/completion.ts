/** Status of a completion, with its number (`enum ib_wc_status`, include/rdma/ib_verbs.h). */
export const WcStatus = {
  success: 0,
  "local-length-error": 1,
  "local-operation-error": 2,
  "local-protection-error": 4,
  "flush-error": 5,
  "remote-invalid-request": 9,
  "remote-access-error": 10,
  "remote-operation-error": 11,
  "retry-exceeded": 12,
  "receiver-not-ready": 13,
} as const;

/** See {@link WcStatus}. */
export type WcStatusName = keyof typeof WcStatus;

/** What a work request was. */
export type WcOpcode = "rdma-write" | "rdma-read" | "send" | "receive";

/** How a work request ended: `struct ib_wc`. */
export interface WorkCompletion {
  readonly opcode: WcOpcode;
  readonly status: WcStatusName;
  /** Number of the queue pair. */
  readonly qp: number;
  /** Bytes known to have reached their place. */
  readonly bytes: number;
  /** What went wrong, for people. */
  readonly detail: string | undefined;
}
