import { library } from "@peerbar/tsup-config";

export default library(
  { index: "src/index.ts", selftest: "src/selftest.ts", edu: "src/edu.ts" },
  { platform: "node" },
);
