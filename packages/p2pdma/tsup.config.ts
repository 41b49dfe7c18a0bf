import { library } from "@peerbar/tsup-config";

// `platform: node` keeps the node: imports of the ./node entry; the other entry has none.
export default library(
  { index: "src/index.ts", node: "src/node.ts" },
  { platform: "node", splitting: true },
);
