import { library } from "@peerbar/tsup-config";

/** One file a verb, everything inside: a command line tool is judged by its start-up. */
export default library(
  { main: "src/main.ts" },
  { platform: "node", noExternal: [/./], splitting: true, clean: true, banner: {
    // commander is CommonJS and asks for Node's own modules through require.
    js: 'import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);',
  } },
);
