import { copyFile, readFile, writeFile } from "node:fs/promises";
import { noticesPath, templatePath } from "@peerbar/report/build";
import { app } from "@peerbar/tsup-config";
import { type BundledPackage, merged, noticesText, onBundled } from "@peerbar/tsup-config/notices";

const here = (path: string): URL => new URL(path, import.meta.url);

const intro = `The command line tool peerbar is one bundle: it holds code of these packages, in dist and in the pages that it writes. Their licences ask that
they be passed on with it. koffi, which it finds in node_modules, has its own there.
`;

/** Written from what is in the bundles and in the page, so that it cannot name too little. */
async function writeNotices(bundled: BundledPackage[]): Promise<void> {
  const page = JSON.parse(await readFile(noticesPath, "utf8")) as BundledPackage[];
  const text = noticesText(merged(bundled, page));
  await writeFile(here("THIRD-PARTY-NOTICES"), `${intro}\n${text}`);
}

// Minified: start-up time is half reading and compiling. Names of classes and functions stay for stacks.
let bundled: BundledPackage[] = [];
export default app(
  {
    main: "src/main.ts",
    "audit-worker": "src/audit/worker.ts",
    "explore-worker": "src/explore/worker.ts",
  },
  {
    minifyWhitespace: true,
    minifySyntax: true,
    esbuildPlugins: [
      onBundled((packages) => {
        bundled = packages;
      }),
    ],
    // The page of `report` is built by apps/report and ships beside the bundle.
    onSuccess: async () => {
      await copyFile(templatePath, here("dist/report.html"));
      await writeNotices(bundled);
    },
  },
);
