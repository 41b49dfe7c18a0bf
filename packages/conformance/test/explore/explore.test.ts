import { DmaBufError, Lock } from "@peerbar/core";
import { describe, expect, it } from "vitest";
import { explore, replay, scenario } from "../../src/explore/index.js";
import { MemoryExporter, PhysicalMemory, SimpleImporter } from "../../src/reference/index.js";

/** Two actors that add 1 and can be interrupted in between. */
const lostUpdate = scenario("a lost update", (t) => {
  const state = t.shared("count", { count: 0 });
  for (const name of ["one", "two"]) {
    t.actor(name, async () => {
      const seen = state.count;
      await t.pause();
      state.count = seen + 1;
    });
  }
  t.check(() => {
    if (state.count !== 2) throw new Error(`count is ${state.count}`);
  });
});

const abba = scenario("locks in both orders", (t) => {
  const a = new Lock("a", t.scheduler);
  const b = new Lock("b", t.scheduler);
  const both = async (first: Lock, second: Lock): Promise<void> => {
    const outer = await first.lock();
    const inner = await second.lock();
    inner.release();
    outer.release();
  };
  t.actor("ab", () => both(a, b));
  t.actor("ba", () => both(b, a));
});

/** One exporter, two importers, a revoke and a restore: all of it right. */
const revoked = scenario("a revoke against two importers", (t) => {
  const exporter = new MemoryExporter({ memory: new PhysicalMemory(), scheduler: t.scheduler });
  const buffer = t.sanitizer.buffer(exporter.export(0x1000n));
  for (const name of ["first", "second"]) {
    t.actor(name, async () => {
      const device = { name, pciAddress: "0000:01:00.0", dmaMask: 2n ** 64n - 1n };
      try {
        const slice = { offset: 0n, length: 0x1000n };
        const imported = await new SimpleImporter(device).import(buffer, slice);
        await imported.close();
      } catch (error) {
        if (!(error instanceof DmaBufError) || error.code !== "ENODEV") throw error;
      }
    });
  }
  t.actor("reset", async () => {
    await exporter.revoke();
    await exporter.restore();
  });
  t.check(() => expect([...buffer.attachments]).toEqual([]));
});

describe("exhaustive exploration", () => {
  it("finds a lost update and replays it from its schedule", async () => {
    const { failures } = await explore(lostUpdate);
    expect(failures).toHaveLength(1);
    const [failure] = failures;
    expect(failure).toMatchObject({ kind: "check-failed", message: "check: Error: count is 1" });
    const again = await replay(lostUpdate, failure?.schedule ?? "");
    expect(again.failure).toEqual({ ...failure, detail: again.failure?.detail });
    expect((await replay(lostUpdate, "")).failure).toBeUndefined();
  });

  it("finds a deadlock, prints who waits for whom, and reports the inverted order before it happens", async () => {
    const { failures, exhausted } = await explore(abba, { maxFailures: 9 });
    expect(exhausted).toBe(true);
    expect(failures.map(({ kind }) => kind)).toEqual(["lock-order", "deadlock"]);
    expect(failures[1]?.message).toBe(
      "deadlock: ab waits for lock b, held by ba; ba waits for lock a, held by ab",
    );
    expect(failures[0]?.detail?.match(/explore\.test\.ts/g)).toHaveLength(2);
  });

  it("proves the reference exporter right against two importers and a revoke", async () => {
    const result = await explore(revoked);
    expect(result).toMatchObject({ exhausted: true, failures: [] });
    const all = await explore(revoked, { reduce: false });
    expect(all).toMatchObject({ exhausted: true, failures: [] });
    expect(result.interleavings).toBeLessThan(all.interleavings);
  });
});
