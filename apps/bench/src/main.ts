import { constants } from "node:os";
import { program } from "./program.js";

// What was started and written is taken down at the exit, so a signal has to become one.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.once(signal, () => {
    process.exit(128 + constants.signals[signal]);
  });
}
process.exitCode = await program(process.argv.slice(2), {
  out: (text) => process.stdout.write(text),
  err: (text) => process.stderr.write(text),
});
