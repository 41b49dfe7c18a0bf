import { defineConfig } from "vitest/config";

// `tsc --outDir dist` leaves compiled tests in dist, as old as that build: they are not for `npm test`.
export default defineConfig({ test: { include: ["test/**/*.test.ts"] } });
