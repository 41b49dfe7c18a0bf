import { spawn } from "node:child_process";
import {
  chmodSync,
  closeSync,
  copyFileSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { StringDecoder } from "node:string_decoder";
import { buffersLeft, findings, message } from "./console.mjs";
import { room } from "./paths.mjs";
import { qemuArguments } from "./qemu-args.mjs";
import { findCommand } from "./requirements.mjs";
import { track } from "./run.mjs";
import { LabError } from "./say.mjs";

/**
 * @typedef {object} BootOptions
 * @property {import("./machines.mjs").MachineRow} machine
 * @property {import("./kernel.mjs").Kernel} kernel
 * @property {string} [oracle] the module to load
 * @property {string} script what the machine runs, in sh
 * @property {boolean} [interactive] the job gets this terminal
 * @property {number} timeoutSeconds for the whole life of the machine
 * @property {"tcg" | "kvm"} accel
 * @property {number} cpus
 * @property {number} memoryMiB
 * @property {(chunk: Buffer) => void} [onOutput]
 * @property {(chunk: Buffer) => void} [onComplaint] the job's stderr
 * @property {(line: string) => void} [onConsole]
 * @property {(folder: string) => Promise<void>} [prepare] puts files into the job's folder before the start
 * @property {(folder: string) => void} [collect] reads the job's folder after the end
 */

/**
 * @typedef {object} BootResult
 * @property {number | undefined} exitCode of the job; undefined where the machine ended before it
 * @property {boolean} timedOut
 * @property {string[]} console
 * @property {import("./console.mjs").Finding[]} findings
 * @property {number | undefined} buffersLeft dma-bufs that outlived the job
 * @property {string[]} leftRunning programs that outlived the job
 * @property {string} qemuErrors
 * @property {number} seconds
 */

/** Boots one machine, runs one job, takes everything down again. @param {BootOptions} options @returns {Promise<BootResult>} */
export async function boot(options) {
  const folder = mkdtempSync(join(tmpdir(), "peerbar-lab-"));
  const remove = () => rmSync(folder, { recursive: true, force: true });
  process.once("exit", remove);
  try {
    chmodSync(folder, 0o755);
    writeFileSync(join(folder, "job.sh"), options.script);
    if (options.oracle !== undefined) copyFileSync(options.oracle, join(folder, "oracle.ko"));
    if (options.interactive) writeFileSync(join(folder, "interactive"), "");
    await options.prepare?.(folder);
    const result = await runMachine(options, folder);
    options.collect?.(folder);
    return result;
  } finally {
    process.off("exit", remove);
    remove();
  }
}

function runMachine(options, folder) {
  const started = Date.now();
  const program = findCommand("qemu-system-x86_64");
  if (program === undefined) throw new LabError("qemu-system-x86_64 is not installed");
  const args = qemuArguments(options.machine, {
    image: options.kernel.image,
    jobFolder: folder,
    init: join(room, "guest/init"),
    accel: options.accel,
    cpus: options.cpus,
    memoryMiB: options.memoryMiB,
  });
  const stdin = options.interactive ? "inherit" : "ignore";
  const stdout = options.interactive ? "inherit" : "pipe";
  const child = track(
    spawn(program, args, {
      detached: !options.interactive,
      stdio: [stdin, stdout, "pipe", "pipe"],
    }),
  );
  let qemuErrors = "";
  let timedOut = false;
  const lines = new Lines(options.onConsole);
  child.stdout?.on("data", (chunk) => options.onOutput?.(chunk));
  child.stderr.setEncoding("utf8").on("data", (chunk) => {
    qemuErrors += chunk;
  });
  const follow = followFile(join(folder, "console"), (chunk) => lines.take(chunk));
  child.stdio[3].on("data", (chunk) => options.onComplaint?.(chunk));
  for (const stream of child.stdio) stream?.on("error", () => undefined);
  const timer = setTimeout(() => {
    timedOut = true;
    child.kill("SIGKILL");
  }, options.timeoutSeconds * 1000);
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", () => {
      clearTimeout(timer);
      follow.end();
      const read = (name) =>
        existsSync(join(folder, name)) ? readFileSync(join(folder, name), "utf8") : "";
      const code = read("exit-code").trim();
      resolve({
        exitCode: code === "" ? undefined : Number(code),
        timedOut,
        console: lines.all(),
        findings: findings(lines.all()),
        buffersLeft: buffersLeft(read("bufinfo")),
        leftRunning: read("left-running")
          .split("\n")
          .filter((line) => line.trim() !== ""),
        qemuErrors: withoutNoise(qemuErrors),
        seconds: (Date.now() - started) / 1000,
      });
    });
  });
}

/** TCG names each feature of the processor model that it lacks; that is no news to anybody. */
function withoutNoise(text) {
  return text
    .split("\n")
    .filter((line) => line.trim() !== "" && !/TCG doesn't support requested feature/.test(line))
    .join("\n");
}

/** Gives what is appended to a file, soon after it is; `end` gives the rest. */
function followFile(path, take) {
  let fd;
  const buffer = Buffer.alloc(65_536);
  const decoder = new StringDecoder("utf8");
  const poll = () => {
    try {
      fd ??= openSync(path, "r");
      for (;;) {
        const got = readSync(fd, buffer, 0, buffer.length, null);
        if (got === 0) return;
        take(decoder.write(buffer.subarray(0, got)));
      }
    } catch (error) {
      if (error.code !== "ENOENT") throw error;
    }
  };
  const timer = setInterval(poll, 100);
  return {
    end() {
      clearInterval(timer);
      poll();
      if (fd !== undefined) closeSync(fd);
    },
  };
}

/** Cuts a stream into lines. */
class Lines {
  #lines = [];
  #rest = "";
  #onLine;

  constructor(onLine) {
    this.#onLine = onLine;
  }

  take(chunk) {
    const parts = (this.#rest + chunk).split("\n");
    this.#rest = parts.pop() ?? "";
    for (const part of parts) {
      this.#lines.push(part);
      this.#onLine?.(message(part));
    }
  }

  all() {
    return this.#rest === "" ? this.#lines : [...this.#lines, this.#rest];
  }
}
