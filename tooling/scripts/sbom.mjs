import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseNotices } from "@peerbar/tsup-config/notices";
import { run } from "./packages.mjs";

/**
 * Writes `sbom.cdx.json` (CycloneDX) for everything that somebody gets who installs all packages: they are installed from their tarballs
 * into a fresh folder, and npm lists what is there. pnpm 10 writes no SBOM itself. What is inside the tool's bundle is not installed, so npm
 * cannot see it: it is listed below the tool, from the notices in its tarball.
 *
 * @returns number of components
 */
export function writeSbom(into, packed) {
  const scratch = mkdtempSync(join(tmpdir(), "peerbar-sbom-"));
  // npm calls what it lists by the folder's name.
  const place = join(scratch, "peerbar-packages");
  try {
    const dependencies = Object.fromEntries(packed.map(({ name, file }) => [name, `file:${file}`]));
    const { version } = packed[0];
    const manifest = { name: "peerbar-packages", version, private: true, dependencies };
    mkdirSync(place, { recursive: true });
    writeFileSync(join(place, "package.json"), JSON.stringify(manifest));
    run(["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts"], { cwd: place });
    const text = run(["npm", "sbom", "--sbom-format", "cyclonedx", "--omit", "dev"], {
      cwd: place,
    });
    const sbom = JSON.parse(text);
    // Where a tarball lay on this machine is nobody's business.
    for (const component of sbom.components) {
      component.externalReferences = component.externalReferences?.filter(
        ({ url }) => !url.startsWith("file:"),
      );
    }
    const tool = sbom.components.find(({ name }) => name === "peerbar");
    tool.components = bundled(join(place, "node_modules/peerbar/THIRD-PARTY-NOTICES"));
    writeFileSync(join(into, "sbom.cdx.json"), `${JSON.stringify(sbom, undefined, 2)}\n`);
    return sbom.components.length + tool.components.length;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** CycloneDX components of what a notices file names. */
function bundled(notices) {
  return parseNotices(readFileSync(notices, "utf8")).map(({ name, version, license }) => ({
    type: "library",
    name,
    version,
    licenses: [
      / (?:OR|AND|WITH) /.test(license) ? { expression: license } : { license: { id: license } },
    ],
    // pci.ids is a list that is on no registry.
    ...(name === "pci.ids" ? {} : { purl: `pkg:npm/${name.replace("@", "%40")}@${version}` }),
  }));
}
