/** A device's file, opened one way or the other, with what must stay open as long as it. */
export interface OpenedVfioFile {
  readonly fd: number;
  /** Object id of the device in the iommufd it was bound to; undefined where a group's container has it. */
  readonly deviceId: number | undefined;
  /** Closes the file first, then what stands behind it. Call it once. */
  close(): void;
}
