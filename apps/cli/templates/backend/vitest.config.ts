import { defineConfig } from "vitest/config";

// `npm run check` leaves compiled tests in dist, as old as that run: they are not for `npm test`.
export default defineConfig({ test: { include: ["test/**/*.test.ts"] } });
