/** Takes every step in order, whatever one of them throws, so that nobody is left out, or open, by another's error; throws the first error in the end. */
export function everyStep(steps: readonly (() => void)[]): void {
  const failures: unknown[] = [];
  for (const step of steps) {
    try {
      step();
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length > 0) throw failures[0];
}

/** {@link everyStep} for steps that wait; each begins when the one before has ended. */
export async function everyStepAwaited(
  steps: readonly (() => Promise<void> | void)[],
): Promise<void> {
  const failures: unknown[] = [];
  for (const step of steps) {
    try {
      await step();
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length > 0) throw failures[0];
}
