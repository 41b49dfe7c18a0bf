import { performance } from "node:perf_hooks";
import { TestRunner } from "vitest";

const LOOK_MS = 250;
/** Looks in a row that find nothing going on before a test counts as stuck. */
const LOOKS = 6;

/**
 * Ends a test that waits for something that will never come: a mutant that forgets to wake a waiter leaves it so. The rooms under test wait
 * for each other and never for a clock, so an event loop with nothing to do and a test that is not done say "stuck" with certainty, however
 * slow the machine is: a slow test keeps its loop busy. Without this each such mutant costs the whole time limit.
 */
export default class IdleRunner extends TestRunner {
  async runTask(test) {
    const run = TestRunner.getTestFn(test);
    let timer;
    const stuck = new Promise((_, reject) => {
      let looks = 0;
      let before = performance.eventLoopUtilization();
      timer = setInterval(() => {
        const now = performance.eventLoopUtilization();
        looks = performance.eventLoopUtilization(now, before).utilization < 0.1 ? looks + 1 : 0;
        before = now;
        if (looks >= LOOKS) reject(new Error("stuck: the test waits and nothing is going on"));
      }, LOOK_MS);
    });
    try {
      await Promise.race([run(), stuck]);
    } finally {
      clearInterval(timer);
    }
  }
}
