import { project } from "@peerbar/vitest-config";

const config = project("consumer");
config.test.include = ["test/**/*.test.mjs"];

export default config;
