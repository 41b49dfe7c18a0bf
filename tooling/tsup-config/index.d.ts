import type { Options } from "tsup";

export declare function library(
  entry?: Record<string, string>,
  options?: Options,
): Options | Options[];

export declare function app(entry?: Record<string, string>, options?: Options): Options | Options[];
