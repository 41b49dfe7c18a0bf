import type { Metafile, Plugin } from "esbuild";

/** A package of somebody else's that is in a bundle. */
export interface BundledPackage {
  readonly name: string;
  readonly version: string;
  readonly license: string;
  /** Its licence, word for word. */
  readonly text: string;
}

export declare function bundledPackages(metafile: Metafile, base?: string): BundledPackage[];

export declare function merged(...lists: readonly BundledPackage[][]): BundledPackage[];

export declare function noticesText(packages: readonly BundledPackage[]): string;

export declare function parseNotices(notices: string): BundledPackage[];

export declare function onBundled(use: (packages: BundledPackage[]) => void): Plugin;
