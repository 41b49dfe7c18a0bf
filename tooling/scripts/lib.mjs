import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";

/** Root of the checkout. */
export const root = fileURLToPath(new URL("../..", import.meta.url));

/** The command line tool, after a build. */
export const cli = fileURLToPath(new URL("../../apps/cli/bin/peerbar.js", import.meta.url));

/** Tells on stderr what takes time, so that stdout stays the program's own. */
export function say(text) {
  process.stderr.write(`peerbar: ${text}\n`);
}

/**
 * Builds an app of this workspace where it is stale. Quiet when all goes well; on failure shows the tools' own output
 * and ends the process.
 *
 * @returns seconds it took
 */
export function build(name) {
  const started = Date.now();
  const turbo = fileURLToPath(new URL("../../node_modules/turbo/bin/turbo", import.meta.url));
  const args = ["run", "build:js", `--filter=${name}`, "--output-logs=errors-only", "--ui=stream"];
  const result = spawnSync(process.execPath, [turbo, ...args], {
    cwd: root,
    encoding: "utf8",
    env: { ...process.env, TURBO_TELEMETRY_DISABLED: "1", TURBO_NO_UPDATE_NOTIFIER: "1" },
  });
  if (result.status !== 0) {
    process.stderr.write(`${result.stdout ?? ""}${result.stderr ?? ""}`);
    say(
      `the build failed${result.error ? `: ${result.error.message}` : "; the lines above say where"}`,
    );
    process.exit(result.status || 1);
  }
  return (Date.now() - started) / 1000;
}

/** Runs a program with the caller's terminal, from the folder the user stands in, and ends with its exit code. */
export function hand(args, options = {}) {
  const cwd = process.env.INIT_CWD ?? process.cwd();
  const result = spawnSync(process.execPath, args, { stdio: "inherit", cwd, ...options });
  if (result.error) throw result.error;
  process.exit(result.status ?? 1);
}
