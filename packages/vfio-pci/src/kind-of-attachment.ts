import type { Attachment } from "@peerbar/core";
import type { AttachKind, TellsAttachKind } from "./attach-kind.js";

/** The kind of an attachment to a buffer of vfio-pci; undefined for buffers of other exporters. Changes where the topology's answer does. */
export function attachKind(attachment: Attachment): AttachKind | undefined {
  const ops = attachment.buffer.ops as Partial<TellsAttachKind>;
  return ops.attachKind?.(attachment);
}
