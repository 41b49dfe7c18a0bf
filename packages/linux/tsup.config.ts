import { library } from "@peerbar/tsup-config";

export default library({ index: "src/index.ts" }, { platform: "node" });
