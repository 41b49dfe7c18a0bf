import { app } from "@peerbar/tsup-config";

// Minified: start-up time is half reading and compiling. Names of classes and functions stay for stacks.
export default app(undefined, { minifyWhitespace: true, minifySyntax: true });
