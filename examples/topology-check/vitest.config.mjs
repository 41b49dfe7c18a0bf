import { defineConfig } from "vitest/config";

// `npm run build` leaves compiled tests in dist, as old as that build: they are not for `npm test`.
export default defineConfig({ test: { include: ["test/**/*.test.ts"] } });
