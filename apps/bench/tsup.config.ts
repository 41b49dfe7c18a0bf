import { app } from "@peerbar/tsup-config";

export default app({
  main: "src/main.ts",
  "memory-child": "src/memory/child.ts",
  "fleet-reader": "src/fleet-reader.ts",
});
