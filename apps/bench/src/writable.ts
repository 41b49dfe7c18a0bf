import { accessSync, closeSync, constants, openSync, rmSync, statSync } from "node:fs";
import { dirname } from "node:path";

/**
 * A run takes minutes: it is known before whether its result can be kept. Leaves nothing behind and changes nothing.
 *
 * @throws Error with a line for the user, as the system words it, where the file cannot be written or nothing be put beside it.
 */
export function checkWritable(path: string): void {
  accessSync(dirname(path), constants.W_OK);
  const before = statSync(path, { throwIfNoEntry: false });
  // Opening a pipe would end it for whoever reads.
  if (before !== undefined && !before.isFile() && !before.isDirectory()) return;
  closeSync(openSync(path, "a"));
  if (before === undefined) rmSync(path);
}
