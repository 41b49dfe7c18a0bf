import { worker } from "workerpool";
import { compare } from "./difference.js";
import { CaptureReader, type ReadOptions } from "./reading.js";

const reader = new CaptureReader();

// One thread of an audit: the pool calls these by name.
worker({
  read: (path: string, stamp: string, options: ReadOptions) => reader.read(path, stamp, options),
  compare,
});
