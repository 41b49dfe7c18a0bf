import { copyFile } from "node:fs/promises";
import { templatePath } from "@peerbar/report/build";
import { app } from "@peerbar/tsup-config";

// Minified: start-up time is half reading and compiling. Names of classes and functions stay for stacks.
export default app(
  {
    main: "src/main.ts",
    "audit-worker": "src/audit/worker.ts",
    "explore-worker": "src/explore/worker.ts",
  },
  {
    minifyWhitespace: true,
    minifySyntax: true,
    // The page of `report` is built by apps/report and ships beside the bundle.
    onSuccess: async () => {
      await copyFile(templatePath, new URL("dist/report.html", import.meta.url));
    },
  },
);
