import { library } from "@peerbar/tsup-config";

export default library();
