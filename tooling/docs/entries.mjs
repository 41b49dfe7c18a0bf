import { join } from "node:path";
import { publicPackages } from "../scripts/packages.mjs";

/**
 * Every entry point of every published library: what users import, and the source behind it.
 *
 * @returns {{ name: string, source: string, folder: string }[]}
 */
export function entries() {
  return publicPackages().flatMap(({ folder, manifest }) =>
    Object.entries(manifest.exports ?? {}).flatMap(([entry, target]) => {
      const source = target["@peerbar/source"];
      if (source === undefined) return [];
      return [{ name: `${manifest.name}${entry.slice(1)}`, source: join(folder, source), folder }];
    }),
  );
}
