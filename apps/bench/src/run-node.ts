import { spawn } from "node:child_process";

/** How a program ended, and what it said on stderr. */
interface Ended {
  readonly code: number | null;
  readonly said: string;
}

/** Runs a Node program to its end, or to the end of this process. `hear` is told what it says on stderr as it comes. */
export function runNode(args: readonly string[], hear?: (text: string) => void): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { stdio: ["ignore", "ignore", "pipe"] });
    const stop = (): void => {
      child.kill();
    };
    process.once("exit", stop);
    let said = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      said += text;
      hear?.(text);
    });
    child.once("error", reject);
    child.once("close", (code) => {
      process.off("exit", stop);
      resolve({ code, said });
    });
  });
}
