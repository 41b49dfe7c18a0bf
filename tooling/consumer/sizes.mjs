// Writes docs/sizes.md anew: `node tooling/consumer/sizes.mjs`. A test compares it with what is there.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { root } from "../scripts/lib.mjs";
import { bundledSize, imports, row } from "./src/sizes.mjs";

const here = fileURLToPath(new URL(".", import.meta.url));
const rows = [];
for (const one of imports) rows.push(row(one, await bundledSize(one.code, here)));
writeFileSync(
  join(root, "docs/sizes.md"),
  `# How small a minimal import is

Bytes of a bundle for browsers (esbuild, minified, not compressed) that holds one import and what it needs of all packages, and nothing else:
every package is free of side effects, so bundlers leave the rest out. A test holds each within a tenth and 512 bytes of this page.

| for | import | bytes |
|---|---|---|
${rows.join("\n")}

Written by \`node tooling/consumer/sizes.mjs\`.
`,
);
