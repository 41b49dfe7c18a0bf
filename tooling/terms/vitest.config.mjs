import { defineProject } from "vitest/config";

export default defineProject({ test: { name: "terms", include: ["*.test.mjs"] } });
