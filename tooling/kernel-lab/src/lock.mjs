import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { say } from "./say.mjs";

/**
 * Runs `work` while no other process does so for the same folder: two labs at once share one build. A holder that died is noticed by
 * its process id, and its lock is taken over.
 */
export async function withLock(folder, work) {
  const lock = join(folder, ".lock");
  const owner = join(lock, "pid");
  for (let told = false; ; ) {
    try {
      mkdirSync(lock);
      break;
    } catch (error) {
      if (error.code !== "EEXIST") throw error;
    }
    if (!alive(owner)) rmSync(lock, { recursive: true, force: true });
    else {
      if (!told) say("another lab is building; waiting for it ...");
      told = true;
      await sleep(1000);
    }
  }
  writeFileSync(owner, `${process.pid}`);
  const free = () => rmSync(lock, { recursive: true, force: true });
  process.once("exit", free);
  try {
    return await work();
  } finally {
    process.off("exit", free);
    free();
  }
}

/** True while the holder lives; a lock without a number is one that is just being made. */
function alive(owner) {
  try {
    const pid = Number(readFileSync(owner, "utf8"));
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === "ENOENT" || error.code === "EPERM";
  }
}
