import { library } from "@peerbar/tsup-config";

export default library({
  index: "src/index.ts",
  explore: "src/explore/index.ts",
  reference: "src/reference/index.ts",
  vitest: "src/vitest.ts",
});
