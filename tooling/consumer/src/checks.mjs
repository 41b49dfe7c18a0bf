/** Counts checks, and prints one line for each. */
export class Checks {
  passed = 0;
  failed = 0;
  skipped = 0;

  /** Passes where `body` returns; its result, if a string, is told. A failure does not end the run. */
  async check(what, body) {
    try {
      const said = await body();
      this.passed += 1;
      console.log(`ok    ${what}${typeof said === "string" ? ` (${said})` : ""}`);
      return true;
    } catch (error) {
      this.failed += 1;
      console.log(`FAIL  ${what}\n${String(error.message ?? error).replace(/^/gm, "      ")}`);
      return false;
    }
  }

  skip(why) {
    this.skipped += 1;
    console.log(`skip  ${why}`);
  }
}

/** @throws Error naming both where they differ */
export function same(found, expected, what) {
  const [a, b] = [JSON.stringify(found), JSON.stringify(expected)];
  if (a !== b) throw new Error(`${what}: expected ${b}, found ${a}`);
}
