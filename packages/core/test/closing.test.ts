import { describe, expect, it } from "vitest";
import { Closing } from "../src/index.js";

describe("an end that is asked for many times", () => {
  it("runs once: whoever asks meanwhile waits for the same run, and later nothing runs", async () => {
    const closing = new Closing();
    let runs = 0;
    let finish: () => void = () => undefined;
    const work = (): Promise<void> => {
      runs += 1;
      return new Promise((resolve) => {
        finish = resolve;
      });
    };
    expect(closing.begun).toBe(false);
    const first = closing.run(work);
    expect([closing.run(work) === first, closing.begun]).toEqual([true, true]);
    finish();
    await first;
    await closing.run(work);
    expect(runs).toBe(1);
  });

  it("that failed is tried again by the next who asks, and stays begun", async () => {
    const closing = new Closing();
    const failures = [new Error("first"), undefined];
    const work = async (): Promise<void> => {
      const failure = failures.shift();
      await Promise.resolve();
      if (failure !== undefined) throw failure;
    };
    const both = [closing.run(work), closing.run(work)];
    for (const one of both) await expect(one).rejects.toThrow("first");
    expect([closing.begun, failures.length]).toEqual([true, 1]);
    await closing.run(work);
    await closing.run(work);
    expect(failures.length).toBe(0);
  });
});
