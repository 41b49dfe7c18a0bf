import { app } from "@peerbar/tsup-config";

export default app();
