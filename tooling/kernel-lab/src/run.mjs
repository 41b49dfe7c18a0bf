import { spawn } from "node:child_process";

const children = new Set();

/** Ends every program that this process started; for signals and for the end. */
export function killChildren() {
  for (const child of children) {
    try {
      process.kill(-child.pid, "SIGKILL");
    } catch {
      child.kill("SIGKILL");
    }
  }
}

/** Remembers a program in a process group of its own, so that nothing of it outlives this process. */
export function track(child) {
  children.add(child);
  child.once("close", () => children.delete(child));
  return child;
}

/**
 * Runs a program to its end, line by line.
 *
 * @param {string} program
 * @param {string[]} args
 * @param {{ cwd?: string, env?: Record<string, string>, onLine?: (line: string) => void }} [options]
 * @returns {Promise<{ status: number | null, output: string }>} the last 200 KB of output
 */
export function run(program, args, options = {}) {
  return new Promise((resolve, reject) => {
    const child = track(
      spawn(program, args, {
        cwd: options.cwd,
        detached: true,
        stdio: ["ignore", "pipe", "pipe"],
        env: { ...process.env, ...options.env },
      }),
    );
    let output = "";
    let rest = "";
    const take = (chunk) => {
      output = (output + chunk).slice(-200_000);
      const lines = (rest + chunk).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) options.onLine?.(line);
    };
    child.stdout.setEncoding("utf8").on("data", take);
    child.stderr.setEncoding("utf8").on("data", take);
    child.once("error", reject);
    child.once("close", (status) => resolve({ status, output }));
  });
}
