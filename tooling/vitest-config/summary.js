/** Reporter that ends the run with one plain line other tools can read. */
export default class SummaryLine {
  onTestRunEnd(modules, unhandledErrors = []) {
    let passed = 0;
    let failed = unhandledErrors.length;
    let skipped = 0;
    for (const module of modules) {
      if (module.state() === "failed" && module.errors().length > 0) failed += 1;
      for (const test of module.children.allTests()) {
        const { state } = test.result();
        if (state === "passed") passed += 1;
        else if (state === "failed") failed += 1;
        else skipped += 1;
      }
    }
    const line = `tests: ${passed} passed, ${failed} failed, ${skipped} skipped`;
    process.on("exit", () => {
      process.stdout.write(`${line}\n`);
    });
  }
}
