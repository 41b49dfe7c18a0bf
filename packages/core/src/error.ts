/**
 * Linux error numbers, negative as Node reports them
 * (include/uapi/asm-generic/errno-base.h and errno.h; the generic values, as on x86 and Arm).
 */
export const errnos = {
  EPERM: -1,
  ENOENT: -2,
  ESRCH: -3,
  EINTR: -4,
  EIO: -5,
  ENXIO: -6,
  E2BIG: -7,
  EBADF: -9,
  EAGAIN: -11,
  ENOMEM: -12,
  EACCES: -13,
  EFAULT: -14,
  EBUSY: -16,
  EEXIST: -17,
  EXDEV: -18,
  ENODEV: -19,
  ENOTDIR: -20,
  EISDIR: -21,
  EINVAL: -22,
  ENFILE: -23,
  EMFILE: -24,
  ENOTTY: -25,
  ETXTBSY: -26,
  EFBIG: -27,
  ENOSPC: -28,
  ESPIPE: -29,
  EROFS: -30,
  EPIPE: -32,
  ERANGE: -34,
  EDEADLK: -35,
  ENAMETOOLONG: -36,
  ENOSYS: -38,
  ENOTEMPTY: -39,
  ELOOP: -40,
  ENODATA: -61,
  ETIME: -62,
  EPROTO: -71,
  EOVERFLOW: -75,
  EBADFD: -77,
  EMSGSIZE: -90,
  EOPNOTSUPP: -95,
  EADDRINUSE: -98,
  ETIMEDOUT: -110,
  EALREADY: -114,
  ESTALE: -116,
  EREMOTEIO: -121,
  ECANCELED: -125,
} as const;

/** Name of a Linux error number. */
export type ErrnoName = keyof typeof errnos;

/**
 * `ERR_PROTOCOL` stands where the kernel has no errno: a broken contract that it answers with a lockdep splat, a WARN or a BUG.
 */
export type DmaBufErrorCode = ErrnoName | "ERR_PROTOCOL";

/** What a {@link DmaBufError} may say beyond code, operation and reason. */
export interface DmaBufErrorOptions {
  /** One sentence on what the caller can do about it. */
  readonly hint?: string | undefined;
  /** The rule that decides, as the spec numbers it: `"vfio-pci-dmabuf V14"`. */
  readonly rule?: string | undefined;
  readonly cause?: unknown;
}

const brand: unique symbol = Symbol.for("peerbar.DmaBufError") as never;

/** Base class of every error these packages throw on purpose. Decide by `code`, never by message. */
export class DmaBufError extends Error {
  override readonly name: string = "DmaBufError";
  readonly [brand] = true;
  readonly code: DmaBufErrorCode;
  /** What was asked for: `"iommufd.map"`, or the system call on the native backend. */
  readonly syscall: string;
  /** Negative Linux error number; undefined for `ERR_PROTOCOL`. */
  readonly errno: number | undefined;
  /** What was found, without code and operation: for tools that lay the parts out themselves. */
  readonly reason: string;
  readonly hint: string | undefined;
  readonly rule: string | undefined;

  /**
   * The message is `CODE: syscall: reason`; {@link errno} follows from `code`. Hint and rule are for the reader and not part of it.
   * @param syscall - what was asked for: `"iommufd.map"`, or the system call
   * @param reason - what was found, as half a sentence
   */
  constructor(
    code: DmaBufErrorCode,
    syscall: string,
    reason: string,
    options: DmaBufErrorOptions = {},
  ) {
    super(
      `${code}: ${syscall}: ${reason}`,
      options.cause === undefined ? {} : { cause: options.cause },
    );
    this.code = code;
    this.syscall = syscall;
    this.reason = reason;
    this.errno = code === "ERR_PROTOCOL" ? undefined : errnos[code];
    this.hint = options.hint;
    this.rule = options.rule;
  }
}

/**
 * A caller, importer or exporter broke the contract: what the kernel answers with a lockdep splat, WARN or BUG.
 * `rule` is always set. State is unchanged.
 */
export class ProtocolViolation extends DmaBufError {
  override readonly name: string = "ProtocolViolation";
  override readonly rule: string;

  /**
   * @param rule - the rule that was broken: `"dma-buf R16"`; it ends the message
   * @param options - `code` for what the kernel answers with an errno too, such as EDEADLK; ERR_PROTOCOL where absent
   */
  constructor(
    rule: string,
    syscall: string,
    reason: string,
    options: { readonly code?: DmaBufErrorCode; readonly hint?: string | undefined } = {},
  ) {
    super(options.code ?? "ERR_PROTOCOL", syscall, `${reason} (${rule})`, {
      rule,
      hint: options.hint,
    });
    this.rule = rule;
  }
}

/** Works even when two copies of core are installed, where `instanceof` does not. */
export function isDmaBufError(value: unknown): value is DmaBufError {
  return typeof value === "object" && value !== null && brand in value;
}
