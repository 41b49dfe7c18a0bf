import type { ImporterOps } from "@peerbar/core";
import { isHeld, subjectOf } from "./buffer.js";
import type { Sanitizer } from "./sanitizer.js";

/** @internal An importer's callback, watched: late ones, and ones without the lock, are reported. */
export function watchImporter(ops: ImporterOps, sanitizer: Sanitizer): ImporterOps {
  if (ops.invalidateMappings === undefined) return ops;
  return {
    allowPeer2Peer: ops.allowPeer2Peer,
    invalidateMappings(attachment, held) {
      const subject = subjectOf(attachment);
      sanitizer.note(subject, "told to let go");
      if (!attachment.attached) {
        sanitizer.report("callback-after-detach", subject, "told to let go after detach");
      } else if (!isHeld(attachment.buffer, held)) {
        sanitizer.report("invalidate-without-lock", subject, "told without the lock held");
      }
      ops.invalidateMappings?.(attachment, held);
    },
    mappingsRestored(attachment, held) {
      sanitizer.note(subjectOf(attachment), "told that memory is back");
      ops.mappingsRestored?.(attachment, held);
    },
  };
}
